"""What is kept of an experiment's runs where only their order, the latest and the best are asked for."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gateway.catalog.extremes import MetricExtremes
from gateway.catalog.versions import is_ready

if TYPE_CHECKING:
    from gateway.mlflow_client import Run


class RunEntry(NamedTuple):
    """A run's place among the others: by its start, then by its id. `ready` where it could predict."""

    started: int
    run_id: str
    ready: bool


@dataclass(frozen=True, slots=True)
class RunIndex:
    """A mark for each run, the oldest first once `sort` was called; of READY ones' metrics the extremes.

    A small part of what MLflow tells of the runs, whose parameters, tags and other values are not kept.
    """

    entries: list[RunEntry] = field(default_factory=list)
    extremes: MetricExtremes[RunEntry] = field(default_factory=MetricExtremes)

    def add(self, run: Run) -> None:
        """Note one more run."""
        mark = RunEntry(run.started, run.run_id, is_ready(run))
        self.entries.append(mark)
        if mark.ready:
            self.extremes.add(mark, run.metrics)

    def sort(self) -> None:
        """Have the runs in the order of their numbers."""
        self.entries.sort()

    def get_number(self, mark: RunEntry) -> int:
        """The number of a run: 1 is the oldest."""
        return bisect_left(self.entries, mark) + 1

    def latest_ready(self) -> int | None:
        """The number of the newest READY run."""
        return next(
            (place for place in range(len(self.entries), 0, -1) if self.entries[place - 1].ready), None
        )
