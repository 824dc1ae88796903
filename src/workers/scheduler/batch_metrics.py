"""Measures how many requests workers are given at once, and how long these waited."""

from __future__ import annotations

from bisect import bisect_left
from time import perf_counter
from typing import TYPE_CHECKING, Final

from workers.metrics import BATCH_REQUESTS, BATCH_ROWS, DURATION_BOUNDS, QUEUE_WAIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workers.metrics import Counters
    from workers.pending_request import PendingRequest
    from workers.protocol.messages import Reply

_LAST_ROWS_BUCKET: Final = len(BATCH_ROWS.bounds)


class BatchMetrics:
    """A recorder of batches of all model versions together."""

    def __init__(self, counters: Counters) -> None:
        self._waits = counters.histogram(QUEUE_WAIT)
        self._sizes = counters.histogram(BATCH_REQUESTS)
        self._rows = counters.histogram(BATCH_ROWS)

    def record(self, batch: Sequence[PendingRequest]) -> None:
        """Record a batch that leaves the queue; it has at least one request."""
        waits, now, size = self._waits, perf_counter(), len(batch)
        for pending in batch:
            seconds = now - pending.queued_at
            waits[bisect_left(DURATION_BOUNDS, seconds)] += 1
            waits[-1] += seconds
        self._sizes[(size - 1).bit_length()] += 1  # the bounds are powers of two
        self._sizes[-1] += size

    def record_rows(self, replies: Iterable[Reply]) -> None:
        """Record the rows of the calls that the replies are of."""
        cells = self._rows
        for reply in replies:
            if rows := reply.rows:
                bucket = ((rows - 1).bit_length() + 1) // 2  # the bounds are powers of four
                cells[min(bucket, _LAST_ROWS_BUCKET)] += 1
                cells[-1] += rows
