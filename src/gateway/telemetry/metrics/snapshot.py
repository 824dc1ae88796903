"""One process' figures at one moment, as they are written down for the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SeriesKey = tuple[str, tuple[str, ...]]
"""A family's name and its labels' values."""


@dataclass(slots=True)
class Snapshot:
    """`totals` only grow, and are summed number by number; `levels` are as they are now."""

    totals: dict[SeriesKey, Sequence[float]] = field(default_factory=dict)
    gauges: dict[SeriesKey, float] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As bytes."""
        totals = [(*series, numbers) for series, numbers in self.totals.items()]
        levels = [(*series, number) for series, number in self.gauges.items()]
        return orjson.dumps((totals, levels))


def decode(content: bytes) -> Snapshot:
    """What `Snapshot.written` has made."""
    totals, levels = orjson.loads(content)
    return Snapshot(
        {(name, tuple(labels)): numbers for name, labels, numbers in totals},
        {(name, tuple(labels)): number for name, labels, number in levels},
    )


def sum_by_series(parts: Iterable[tuple[SeriesKey, Sequence[float]]]) -> dict[SeriesKey, Sequence[float]]:
    """The numbers of each series together."""
    sums: dict[SeriesKey, Sequence[float]] = {}
    for series, numbers in parts:
        if series in sums:
            sums[series] = [a + b for a, b in zip(sums[series], numbers, strict=True)]
        else:
            sums[series] = numbers
    return sums
