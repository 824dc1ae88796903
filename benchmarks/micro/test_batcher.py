"""The queue in front of a model version: jobs in, batches out."""

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
    """An event loop, since each ticket holds a future."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("jobs", [1, 64, 256])
def test_put_and_take(benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, jobs: int) -> None:
    """So many jobs are queued, and leave as one batch."""

    async def inside() -> int:
        queue = RequestQueue(
            ModelKey("m", "1", "f"),
            PoolLimits(),
            counters=Counters(),
            seconds_per_request=lambda: 0.0,
            on_drop=lambda: None,
        )
        return int(benchmark(_through, queue, jobs))

    assert loop.run_until_complete(inside()) == jobs


def _through(batcher: RequestQueue, jobs: int) -> int:
    for _ in range(jobs):
        batcher.put(JOB)
    return len(batcher.next_batch(jobs))
