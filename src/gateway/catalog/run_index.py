"""A compact index of an experiment's runs: their order, which of them are READY, and their best metrics."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gateway.catalog.best import MetricExtremes
from gateway.catalog.versions import is_ready

if TYPE_CHECKING:
    from gateway.mlflow_client import Run


class RunEntry(NamedTuple):
    """A run as it sorts among the others: by start time, then by id; `ready` if it can be served."""

    started: int
    run_id: str
    ready: bool


@dataclass(frozen=True, slots=True)
class RunIndex:
    """A list of runs, oldest first after `sort`, with the metric extremes of the READY ones.

    Parameters, tags and all other metric values of the runs are not kept.
    """

    entries: list[RunEntry] = field(default_factory=list)
    extremes: MetricExtremes[RunEntry] = field(default_factory=MetricExtremes)

    def add(self, run: Run) -> None:
        """Add one run."""
        entry = RunEntry(run.started, run.run_id, is_ready(run))
        self.entries.append(entry)
        if entry.ready:
            self.extremes.add(entry, run.metrics)

    def sort(self) -> None:
        """Sort the runs by their numbers."""
        self.entries.sort()

    def get_number(self, entry: RunEntry) -> int:
        """Return the version number of a run; the oldest run is 1."""
        return bisect_left(self.entries, entry) + 1

    def latest_ready(self) -> int | None:
        """Return the version number of the newest READY run, or None."""
        return next(
            (number for number in range(len(self.entries), 0, -1) if self.entries[number - 1].ready), None
        )
