"""Ratios between the paired figures of two checkouts, and the table that shows them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.results import short

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOWER_BELOW = 0.97


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that is compared, in a unit of which more is better, or less."""

    name: str
    unit: str
    less_is_better: bool = False

    def ratio(self, this: float, other: float) -> float:
        """Return how many times as fast as the other this checkout is: over 1 is faster."""
        return other / this if self.less_is_better else this / other


@dataclass(slots=True)
class Comparison:
    """The figures of one measure, in pairs: each pair is this checkout's and the other's of one round."""

    measure: Measure
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def add(self, this: float, other: float) -> None:
        """Keep the pair of one round."""
        self.pairs.append((this, other))

    @property
    def medians(self) -> tuple[float, float]:
        """Return the median figure of each side over all rounds."""
        this, other = zip(*self.pairs, strict=True)
        return statistics.median(this), statistics.median(other)

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each round, in order."""
        return [self.measure.ratio(this, other) for this, other in self.pairs]

    @property
    def ratio(self) -> float:
        """Return the median of the rounds' ratios, which is not the ratio of the medians."""
        return statistics.median(self.ratios)

    def slower(self, limit: float) -> bool:
        """Return whether the median ratio is below `limit`."""
        return self.ratio < limit

    def cells(self, limit: float) -> str:
        """Return the comparison as a line of a table."""
        this, other = self.medians
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        mark = "SLOWER" if self.slower(limit) else "ok"
        name = f"{self.measure.name}, {self.measure.unit}"
        return f"| {name} | {short(this)} | {short(other)} | {self.ratio:.3f} | {spread} | {mark} |"


def table(comparisons: Iterable[Comparison], *, other: str, limit: float) -> list[str]:
    """Return all comparisons as lines of a table, `other` being the name of the other checkout."""
    head = [f"| measure | this | {other} | ratio | min to max | |", "|---|--:|--:|--:|--:|---|"]
    return head + [one.cells(limit) for one in comparisons]
