"""The request queue of a model version: requests in, batches out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from workers.limits import PoolLimits
from workers.metrics import Counters
from workers.protocol.messages import Job, ModelKey
from workers.scheduler.queue import RequestQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

JOB = Job(b"{}")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop, since each queued request holds a future."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("jobs", [1, 64, 256])
def test_put_and_take(benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, jobs: int) -> None:
    """Queue a number of requests and take them as one batch."""

    async def inside() -> int:
        queue = RequestQueue(
            ModelKey("m", "1", "f"),
            PoolLimits(),
            counters=Counters(),
            seconds_per_request=lambda: 0.0,
            on_drop=lambda: None,
        )
        return int(benchmark(_put_and_take, queue, jobs))

    assert loop.run_until_complete(inside()) == jobs


def _put_and_take(queue: RequestQueue, jobs: int) -> int:
    for _ in range(jobs):
        queue.put(JOB)
    return len(queue.next_batch(jobs))
