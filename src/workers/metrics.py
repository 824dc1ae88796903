"""How often things happened since the process began; whoever shows it reads it, nothing is sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from workers.versions import OTHER, Versions


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is counted: its name, what it means, and the names of its labels."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def by_version(self) -> bool:
        """Whether its first labels are a model's name and version."""
        return self.labels[:2] == ("model", "version")


Series = tuple[Event, tuple[str, ...]]


WORKER_STARTS: Final = Event(
    "worker_starts", "Worker processes that were started and loaded their model.", ("model", "version")
)
WORKER_DEATHS: Final = Event(
    "worker_deaths",
    "Worker processes that ended unasked (died), or were ended since they did not answer in time (hung).",
    ("model", "version", "reason"),
)
JOBS_RETRIED: Final = Event(
    "requests_retried", "Requests given to another worker since theirs died.", ("model", "version")
)
JOBS_DROPPED: Final = Event(
    "requests_dropped",
    "Requests taken out of the queue unanswered: their client went away or their time was over.",
    ("model", "version"),
)
QUEUE_REFUSALS: Final = Event(
    "queue_refusals", "Requests refused since too many waited for the version.", ("model", "version")
)
LOADS: Final = Event(
    "model_loads",
    "Loads of a model version by how they ended: loaded or failed.",
    ("model", "version", "outcome"),
)
UNLOADS: Final = Event(
    "model_unloads",
    "Models unloaded, by reason: idle, room (for another), memory (over the budget), asked, lost, closing.",
    ("model", "version", "reason"),
)
EVENTS: Final = (
    WORKER_STARTS,
    WORKER_DEATHS,
    JOBS_RETRIED,
    JOBS_DROPPED,
    QUEUE_REFUSALS,
    LOADS,
    UNLOADS,
)
"""Everything that the workers' side counts."""


class Tally:
    """Counts events by their labels. Used from one event loop.

    Of the model versions only so many are told apart, see `Versions`: those of late.
    """

    def __init__(self) -> None:
        self.counts: Counter[Series] = Counter()
        self._versions = Versions(counted=self._counted, fold=self._fold)
        self._series: dict[tuple[str, str], list[Series]] = {}

    def count(self, event: Event, *labels: str, times: int = 1) -> None:
        """Note that `event` happened; one label for each of its names, in their order."""
        series = (event, labels)
        if event.by_version and series not in self.counts:
            version = labels[0], labels[1]
            self._versions.admit(*version)
            self._series.setdefault(version, []).append(series)
        self.counts[series] += times

    def of(self, event: Event, *labels: str) -> int:
        """How often it happened with these labels."""
        return self.counts[event, labels]

    def _counted(self, version: tuple[str, str]) -> int:
        return sum(self.counts[series] for series in self._series[version])

    def _fold(self, version: tuple[str, str]) -> None:
        for event, labels in self._series.pop(version):
            self.counts[event, (*OTHER, *labels[2:])] += self.counts.pop((event, labels))
