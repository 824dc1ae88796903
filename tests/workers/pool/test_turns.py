"""Proves that turns are few at once, and that nobody holds the others up."""

from __future__ import annotations

import asyncio

import pytest

from workers.pool.loading import StaggeredLimiter


async def test_only_so_many_at_once() -> None:
    """However many wait and however they end, each has its turn, and no more than two have it together."""
    turns = StaggeredLimiter(2, seconds=60)
    now = most = done = 0

    async def one(number: int) -> None:
        nonlocal now, most, done
        async with turns.slot():
            now += 1
            most = max(most, now)
            try:
                await asyncio.sleep(0.01)
                if number % 3 == 0:
                    raise ValueError
            finally:
                now -= 1
                done += 1

    tasks = [asyncio.create_task(one(number)) for number in range(20)]
    await asyncio.sleep(0.015)
    tasks[2].cancel()
    tasks[-1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 2
    assert done >= 18
    async with asyncio.timeout(10), turns.slot(), turns.slot():
        pass


async def test_who_takes_long_lets_others_begin() -> None:
    """After its time another begins beside it; and its end gives back nothing a second time."""
    turns = StaggeredLimiter(1, seconds=0.05)
    endless = asyncio.Event()

    async def long() -> None:
        async with turns.slot():
            await endless.wait()

    first = asyncio.create_task(long())
    await asyncio.sleep(0)
    async with asyncio.timeout(10), turns.slot():
        endless.set()
        await first
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), turns.slot():
                raise AssertionError("a third has a turn")
