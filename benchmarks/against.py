"""`--against REV`: this checkout and a git revision measured in turn, as ratios of each round."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import load, machine
from benchmarks.bodies import predictions, same
from benchmarks.ratios import SLOWER_BELOW, Comparison, table
from benchmarks.results import say
from benchmarks.revision import RevisionError, checkout, working_tree
from benchmarks.side import ROWS, STEPS, Side, serving
from benchmarks.stage import staged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.ratios import Measure
    from benchmarks.revision import Revision
    from benchmarks.side import Figures, Step
    from benchmarks.stage import Stage


def compare(revision: str, *, rounds: int, seconds: float, fail_below: float | None) -> int:
    """Measure this checkout against `revision` and print the table; return the exit status.

    It is 1 if a request failed or a median ratio is below `fail_below`, 2 if the revision cannot be run.
    """
    started = time.monotonic()
    progress(f"{machine.described()}; {machine.busy()}; load by {load.named()}")
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            revisions = _revisions(revision, folder)
            progress("training the models on a real MLflow server …")
            with staged(folder) as stage:
                trial = Trial(revisions, stage, folder, seconds)
                for number in range(rounds):
                    progress(f"--- round {number + 1} of {rounds}, after {time.monotonic() - started:.0f} s")
                    trial.run_round(number)
    except RevisionError as error:
        progress(str(error))
        return 2
    progress(f"measured and ended after {time.monotonic() - started:.0f} s")
    return _report(trial, fail_below=fail_below)


def progress(line: str) -> None:
    """Print to stderr at once; stdout is for the table."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@dataclass(slots=True)
class Trial:
    """A comparison of two checkouts, this one first, and the requests to each that failed."""

    revisions: tuple[Revision, Revision]
    stage: Stage
    folder: Path
    seconds: float
    comparisons: dict[Measure, Comparison] = field(default_factory=dict)
    failed: list[int] = field(default_factory=lambda: [0, 0])

    def run_round(self, number: int) -> None:
        """Start both gateways, measure everything once, and end them.

        Each round has processes of its own, since one process may be faster than another of the same code.
        """
        with ExitStack() as stack:
            started = {place: self._start(place, stack) for place in _order(number)}
            sides = [started[place] for place in (0, 1)]
            _agree(sides)
            self._add([[side.started()] for side in sides])
            for step in STEPS:
                self._add(_in_turn(step, sides, number))
            self.failed = [failed + side.failed for failed, side in zip(self.failed, sides, strict=True)]

    def _start(self, place: int, stack: ExitStack) -> Side:
        """Return a side that is running and warm, so that it is idle while the other one starts."""
        folder = self.folder / ("this", "other")[place]
        server = stack.enter_context(serving(self.revisions[place], self.stage, folder))
        side = Side(server, self.stage, folder, self.seconds)
        side.warm()
        return side

    def _add(self, found: Sequence[Sequence[Figures]]) -> None:
        """Keep the medians of what both sides found in one round."""
        for one in found[0][0]:
            this, other = (statistics.median(figures[one] for figures in side) for side in found)
            comparison = self.comparisons.setdefault(one, Comparison(one))
            comparison.add(this, other)
            ratio = comparison.ratios[-1]
            progress(f"{one.name}: {this:.4g} | {other:.4g} {one.unit}, ratio {ratio:.3f}")


def _revisions(revision: str, folder: Path) -> tuple[Revision, Revision]:
    """Return this checkout and the other one, both known to run as themselves."""
    this, other = working_tree(), checkout(revision, folder)
    for one in (this, other):
        one.verify(folder)
        progress(f"{one.name}: {one.source}, run by {one.python}")
    return this, other


def _order(turn: int) -> tuple[int, int]:
    """Return who is first in a turn: this checkout in even ones."""
    return (0, 1) if turn % 2 == 0 else (1, 0)


def _agree(sides: Iterable[Side]) -> None:
    """Raise RuntimeError unless both sides predict the same."""
    for rows in (1, ROWS):
        this, other = (
            predictions(side.server.url, side.stage.body(rows), side.server.form) for side in sides
        )
        if not same(this, other):
            raise RuntimeError(f"the answers to {rows} rows differ")


def _in_turn(step: Step, sides: Sequence[Side], number: int) -> list[list[Figures]]:
    """Return what each side finds in one step of a round, the first one changing with each turn."""
    found: list[list[Figures]] = [[], []]
    for turn in range(number, number + step.times):
        for place in _order(turn):
            found[place].append(step.run(sides[place]))
    return found


def _report(trial: Trial, *, fail_below: float | None) -> int:
    """Print the table and return the exit status."""
    this, other = trial.revisions
    comparisons = trial.comparisons.values()
    limit = SLOWER_BELOW if fail_below is None else fail_below
    say(f"this checkout: {this.name}; ratios over 1: this checkout is faster")
    say("\n".join(table(comparisons, other=other.name, limit=limit)))
    for revision, failed in zip(trial.revisions, trial.failed, strict=True):
        if failed:
            say(f"failed: {failed} requests to {revision.name}")
    slower = fail_below is not None and any(one.slower(limit) for one in comparisons)
    return 1 if slower or any(trial.failed) else 0
