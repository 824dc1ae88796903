"""Estimation of quantiles from the counts of a histogram's buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.telemetry.metrics.requests import BUCKET_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_MILLISECONDS: Final = 1000.0


def quantile_ms(counts: Sequence[int], quantile: float) -> float | None:
    """Return the latency in milliseconds that this part of the requests (0 to 1) did not exceed.

    Within a bucket, latencies count as evenly spread, as in Prometheus' `histogram_quantile`. Those of the
    last bucket, which has no bound, count as the bound before it. Return None if there are no requests.
    """
    rank = quantile * sum(counts)
    below = 0.0
    lower = 0.0
    for count, upper in zip(counts, BUCKET_BOUNDS, strict=False):
        if count and below + count >= rank:
            return round(_MILLISECONDS * (lower + (upper - lower) * (rank - below) / count), 2)
        below += count
        lower = upper
    return _MILLISECONDS * lower if sum(counts) else None
