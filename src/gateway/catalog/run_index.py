"""A compact index of an experiment's runs: their order, which of them are READY, and their best metrics."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.catalog.best import MetricExtremes, is_comparable
from gateway.catalog.versions import is_ready, is_undecided

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.domain.refs import Order
    from gateway.mlflow_client import Run

MAX_CANDIDATES: Final = 20
_SIGNS: Final[tuple[tuple[Order, float], ...]] = (("min", -1.0), ("max", 1.0))


class RunEntry(NamedTuple):
    """A run as it sorts among the others: by start time, then by id.

    It is `ready` if it can be served, and `undecided` if it can only if its artifacts have a model.
    """

    started: int
    run_id: str
    ready: bool = False
    undecided: bool = False


class Candidates:
    """The undecided runs with the best values of each metric, at most 20 for each order."""

    def __init__(self) -> None:
        self._heaps: dict[tuple[str, Order], list[tuple[float, RunEntry]]] = {}

    def add(self, entry: RunEntry, metrics: Mapping[str, float]) -> None:
        """Include the metrics of one more run."""
        for name, value in metrics.items():
            if not is_comparable(value):
                continue
            for order, sign in _SIGNS:
                heap = self._heaps.setdefault((name, order), [])
                push = heappush if len(heap) < MAX_CANDIDATES else heappushpop
                push(heap, (sign * value, entry))

    def best_first(self, metric: str, order: Order) -> Iterator[tuple[float, RunEntry]]:
        """Yield the values of `metric` and their runs, the best first, of equal ones the newest."""
        sign = dict(_SIGNS)[order]
        for value, entry in sorted(self._heaps.get((metric, order), ()), reverse=True):
            yield sign * value, entry

    def extremes(self) -> MetricExtremes[RunEntry]:
        """Return the extremes of the runs' metrics."""
        extremes: MetricExtremes[RunEntry] = MetricExtremes()
        for (metric, order), heap in self._heaps.items():
            sign = dict(_SIGNS)[order]
            for value, entry in heap:
                extremes.add(entry, {metric: sign * value})
        return extremes


@dataclass(frozen=True, slots=True)
class RunIndex:
    """A list of runs, oldest first after `sort`, with the metric extremes of the READY ones.

    Parameters, tags and all other metric values of the runs are not kept.
    """

    entries: list[RunEntry] = field(default_factory=list)
    extremes: MetricExtremes[RunEntry] = field(default_factory=MetricExtremes)
    candidates: Candidates = field(default_factory=Candidates)

    def add(self, run: Run) -> None:
        """Add one run."""
        entry = RunEntry(run.started, run.run_id, is_ready(run), is_undecided(run))
        self.entries.append(entry)
        if entry.ready:
            self.extremes.add(entry, run.metrics)
        elif entry.undecided:
            self.candidates.add(entry, run.metrics)

    @classmethod
    def from_runs(cls, runs: Iterable[Run]) -> RunIndex:
        """Return the index of all runs of an experiment."""
        index = cls()
        for run in runs:
            index.add(run)
        index.sort()
        return index

    def sort(self) -> None:
        """Sort the runs by their numbers."""
        self.entries.sort()

    def get_number(self, entry: RunEntry) -> int:
        """Return the version number of a run; the oldest run is 1."""
        return bisect_left(self.entries, entry) + 1

    def find_number(self, run: Run) -> int | None:
        """Return the version number of a run, or None if it is not in the index."""
        number = self.get_number(RunEntry(run.started, run.run_id))
        is_there = number <= len(self.entries) and self.entries[number - 1].run_id == run.run_id
        return number if is_there else None

    def latest_ready(self) -> int | None:
        """Return the version number of the newest READY run, or None."""
        return next(
            (number for number in range(len(self.entries), 0, -1) if self.entries[number - 1].ready), None
        )

    def newer_undecided(self, number: int) -> list[RunEntry]:
        """Return the undecided runs newer than run `number`, the newest first, at most 20."""
        newer = (self.entries[index] for index in range(len(self.entries) - 1, number - 1, -1))
        found: list[RunEntry] = []
        for entry in newer:
            if entry.undecided:
                found.append(entry)
            if len(found) == MAX_CANDIDATES:
                break
        return found
