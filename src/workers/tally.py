"""How often things happened since the process began; whoever shows it reads it, nothing is sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is counted: its name, what it means, and the names of its labels."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


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
    """Counts events by their labels. Used from one event loop."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Event, tuple[str, ...]]] = Counter()

    def count(self, event: Event, *labels: str, times: int = 1) -> None:
        """Note that `event` happened; one label for each of its names, in their order."""
        self.counts[event, labels] += times

    def of(self, event: Event, *labels: str) -> int:
        """How often it happened with these labels."""
        return self.counts[event, labels]
