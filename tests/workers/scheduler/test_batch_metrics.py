"""Proves that batches are counted by their size, and the waits of each of their requests."""

from __future__ import annotations

import asyncio

import pytest

from workers.metrics import BATCH_REQUESTS, BATCH_ROWS, QUEUE_WAIT, Counters
from workers.pending_request import PendingRequest
from workers.protocol.messages import Job, Reply
from workers.scheduler.batch_metrics import BatchMetrics


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 128, 129, 256])
async def test_the_bucket_of_a_batch(size: int) -> None:
    """It is the first whose bound is not below the size."""
    counters, loop = Counters(), asyncio.get_running_loop()
    batch = [PendingRequest(Job(b""), loop.create_future()) for _ in range(size)]
    for pending in batch:
        pending.queued_at -= 100.0
    BatchMetrics(counters).record(batch)
    sizes, waits = counters.histogram(BATCH_REQUESTS), counters.histogram(QUEUE_WAIT)
    expected = next(number for number, bound in enumerate(BATCH_REQUESTS.bounds) if bound >= size)
    assert [number for number, count in enumerate(sizes[:-1]) if count] == [expected]
    assert sizes[-1] == size
    assert waits[-2] == size
    assert waits[-1] >= 100.0 * size


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 16, 17, 4**10, 4**10 + 1, 2**32 - 1])
def test_the_bucket_of_a_call(rows: int) -> None:
    """A call has the rows of one of its replies; the others have none."""
    counters = Counters()
    BatchMetrics(counters).record_rows([Reply(b"", 0.0, rows=rows), Reply(b"", 0.0)])
    cells = counters.histogram(BATCH_ROWS)
    bounds = (*BATCH_ROWS.bounds, float("inf"))
    expected = next(number for number, bound in enumerate(bounds) if bound >= rows)
    assert [number for number, count in enumerate(cells[:-1]) if count] == [expected]
    assert cells[-1] == rows
