"""Proves that few slots are held at once, and that long work does not delay the others."""

from __future__ import annotations

import asyncio

import pytest

from workers.pool.staggered_limiter import StaggeredLimiter


async def test_at_most_the_limit_runs_at_once() -> None:
    """However many wait and however they end, each gets a slot, and no more than two hold one together."""
    limiter = StaggeredLimiter(2, seconds=60)
    running = most = done = 0

    async def work(number: int) -> None:
        nonlocal running, most, done
        async with limiter.slot():
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(0.01)
                if number % 3 == 0:
                    raise ValueError
            finally:
                running -= 1
                done += 1

    tasks = [asyncio.create_task(work(number)) for number in range(20)]
    await asyncio.sleep(0.015)
    tasks[2].cancel()
    tasks[-1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 2
    assert done >= 18
    async with asyncio.timeout(30), limiter.slot(), limiter.slot():
        pass


async def test_long_work_lets_the_next_start() -> None:
    """After its time the next starts beside it, and its end does not release a slot a second time."""
    limiter = StaggeredLimiter(1, seconds=1.0)
    finish = asyncio.Event()

    async def work() -> None:
        async with limiter.slot():
            await finish.wait()

    first = asyncio.create_task(work())
    await asyncio.sleep(0)
    async with asyncio.timeout(30), limiter.slot():
        finish.set()
        await first
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), limiter.slot():
                raise AssertionError("a third holds a slot")
