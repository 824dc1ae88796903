"""Metrics of processes, as the history reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.requests import BUCKET_BOUNDS
from gateway.telemetry.metrics.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.telemetry.metrics.snapshot import SeriesKey

BUCKETS = len(BUCKET_BOUNDS) + 1


def cells(bucket: int, count: float) -> list[float]:
    """Return a histogram with `count` values in one bucket."""
    return [count if index == bucket else 0.0 for index in range(BUCKETS)] + [0.1 * count]


def process(
    *, ok: float = 0, failed: float = 0, refused: float = 0, waiting: float = 0, memory: float = 0
) -> Snapshot:
    """Return what a process counted of version 1 of model `a`: requests that succeeded and that failed."""
    totals: dict[SeriesKey, Sequence[float]] = {
        ("gateway_predictions", ("a", "1", "200")): [ok],
        ("gateway_predictions", ("a", "1", "503")): [failed],
        (definitions.PREDICTION_DURATION.name, ("2xx",)): cells(1, ok),
        (definitions.PREDICTION_DURATION.name, ("5xx",)): cells(5, failed),
        (definitions.MODEL_PREDICTION_DURATION.name, ("a", "1")): cells(1, ok),
        ("gateway_rate_limited", ("someone", "rate")): [refused],
        ("gateway_http_requests", ("GET", "/metrics", "200")): [1000 * ok],
    }
    gauges: Mapping[SeriesKey, float] = {
        (definitions.QUEUED_REQUESTS.name, ("a", "1")): waiting,
        (definitions.MODEL_MEMORY.name, ("a", "1")): memory,
        (definitions.BASE_MEMORY.name, ()): 100.0,
        (definitions.MEMORY_LIMIT.name, ()): 1000.0,
    }
    return Snapshot(totals, dict(gauges))
