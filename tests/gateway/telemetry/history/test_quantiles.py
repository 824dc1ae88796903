"""Proves that quantiles are estimated as Prometheus does it."""

from __future__ import annotations

import pytest

from gateway.telemetry.history.quantiles import quantile_ms
from tests.gateway.telemetry.history.snapshots import BUCKETS


def counts(**buckets: int) -> list[int]:
    return [buckets.get(f"b{index}", 0) for index in range(BUCKETS)]


@pytest.mark.parametrize(
    ("buckets", "quantile", "milliseconds"),
    [
        (counts(b0=10), 0.5, 0.25),
        (counts(b0=10), 1.0, 0.5),
        (counts(b3=100), 0.95, 4.88),  # between 2.5 and 5 ms
        (counts(b0=90, b9=10), 0.5, 0.28),
        (counts(b0=90, b9=10), 0.95, 375.0),  # between 250 and 500 ms
        (counts(b16=1), 0.5, 60_000.0),  # no bound: the last one
        (counts(), 0.5, None),
        ([], 0.99, None),
    ],
)
def test_quantiles(buckets: list[int], quantile: float, milliseconds: float | None) -> None:
    """Latencies are evenly spread within a bucket."""
    assert quantile_ms(buckets, quantile) == milliseconds
