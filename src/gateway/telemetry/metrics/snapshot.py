"""The metrics of one process at one moment, in a form that other processes can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SeriesKey = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels."""


@dataclass(slots=True)
class Snapshot:
    """The metrics of one process: `totals` only grow, and processes sum them; `gauges` are current values."""

    totals: dict[SeriesKey, Sequence[float]] = field(default_factory=dict)
    gauges: dict[SeriesKey, float] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the snapshot as bytes."""
        totals = [(*series, values) for series, values in self.totals.items()]
        gauges = [(*series, value) for series, value in self.gauges.items()]
        return orjson.dumps((totals, gauges))


def decode(content: bytes) -> Snapshot:
    """Return the snapshot that `Snapshot.encode` encoded."""
    totals, gauges = orjson.loads(content)
    return Snapshot(
        {(name, tuple(labels)): values for name, labels, values in totals},
        {(name, tuple(labels)): value for name, labels, value in gauges},
    )


def sum_by_series(parts: Iterable[tuple[SeriesKey, Sequence[float]]]) -> dict[SeriesKey, Sequence[float]]:
    """Return the sum of each series, value by value."""
    sums: dict[SeriesKey, Sequence[float]] = {}
    for series, values in parts:
        if series in sums:
            sums[series] = [a + b for a, b in zip(sums[series], values, strict=True)]
        else:
            sums[series] = values
    return sums
