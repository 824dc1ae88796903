"""How often things happened since the process began; whoever shows it reads it, nothing is sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from workers.versions import OTHER, LabelLimiter


@dataclass(frozen=True, slots=True)
class CounterSpec:
    """Something that is counted: its name, what it means, and the names of its labels."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()

    @property
    def by_version(self) -> bool:
        """Whether its first labels are a model's name and version."""
        return self.labels[:2] == ("model", "version")


Series = tuple[CounterSpec, tuple[str, ...]]


WORKER_STARTS: Final = CounterSpec(
    "worker_starts", "Worker processes that were started and loaded their model.", ("model", "version")
)
WORKER_DEATHS: Final = CounterSpec(
    "worker_deaths",
    "Worker processes that ended unasked (died), or were ended since they did not answer in time (hung).",
    ("model", "version", "reason"),
)
REQUESTS_RETRIED: Final = CounterSpec(
    "requests_retried", "Requests given to another worker since theirs died.", ("model", "version")
)
REQUESTS_DROPPED: Final = CounterSpec(
    "requests_dropped",
    "Requests taken out of the queue unanswered: their client went away or their time was over.",
    ("model", "version"),
)
QUEUE_REJECTIONS: Final = CounterSpec(
    "queue_refusals", "Requests refused since too many waited for the version.", ("model", "version")
)
MODEL_LOADS: Final = CounterSpec(
    "model_loads",
    "Loads of a model version by how they ended: loaded or failed.",
    ("model", "version", "outcome"),
)
MODEL_UNLOADS: Final = CounterSpec(
    "model_unloads",
    "Models unloaded, by reason: idle, room (for another), memory (over the budget), asked, lost, closing.",
    ("model", "version", "reason"),
)
COUNTER_SPECS: Final = (
    WORKER_STARTS,
    WORKER_DEATHS,
    REQUESTS_RETRIED,
    REQUESTS_DROPPED,
    QUEUE_REJECTIONS,
    MODEL_LOADS,
    MODEL_UNLOADS,
)
"""Everything that the workers' side counts."""


class Counters:
    """Counts events by their labels. Used from one event loop.

    Of the model versions only so many are told apart, see `LabelLimiter`: those of late.
    """

    def __init__(self) -> None:
        self.counts: Counter[Series] = Counter()
        self._label_limiter = LabelLimiter(total=self._total, merge_into_other=self._merge_into_other)
        self._series: dict[tuple[str, str], list[Series]] = {}

    def increment(self, event: CounterSpec, *labels: str, times: int = 1) -> None:
        """Note that `event` happened; one label for each of its names, in their order."""
        series = (event, labels)
        if event.by_version and series not in self.counts:
            version = labels[0], labels[1]
            self._label_limiter.track(*version)
            self._series.setdefault(version, []).append(series)
        self.counts[series] += times

    def value(self, event: CounterSpec, *labels: str) -> int:
        """How often it happened with these labels."""
        return self.counts[event, labels]

    def _total(self, version: tuple[str, str]) -> int:
        return sum(self.counts[series] for series in self._series[version])

    def _merge_into_other(self, version: tuple[str, str]) -> None:
        for event, labels in self._series.pop(version):
            self.counts[event, (*OTHER, *labels[2:])] += self.counts.pop((event, labels))
