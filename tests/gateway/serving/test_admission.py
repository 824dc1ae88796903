"""Proves that those who wait for files never have all places."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamTimeout
from gateway.serving.admission import DownloadLimiter


@pytest.mark.parametrize(("places", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (32, 16)])
async def test_half_of_the_places(places: int, most: int) -> None:
    """One at least; whoever gets none in time is told how many had them."""
    arrivals = DownloadLimiter(places, seconds=0.05)
    turns = [arrivals.slot() for _ in range(most)]
    for turn in turns:
        await turn.__aenter__()
    with pytest.raises(UpstreamTimeout, match=f"files of {most} other"):
        async with arrivals.slot():
            raise AssertionError("there is no turn left")
    for turn in turns:
        await turn.__aexit__(None, None, None)
    async with arrivals.slot():
        pass


async def test_a_turn_that_becomes_free_is_the_next_ones() -> None:
    """Also where who waited first has gone."""
    arrivals, done = DownloadLimiter(2, seconds=10.0), asyncio.Event()

    async def take() -> None:
        async with arrivals.slot():
            await done.wait()

    first, gone, last = [asyncio.create_task(take()) for _ in range(3)]
    await asyncio.sleep(0)
    gone.cancel()
    done.set()
    await asyncio.gather(first, last)


async def test_other_limits_hold_for_those_who_come() -> None:
    """Who has a turn keeps it."""
    arrivals = DownloadLimiter(2, seconds=0.05)
    async with arrivals.slot():
        arrivals.change(4, seconds=0.05)
        async with arrivals.slot(), arrivals.slot():
            with pytest.raises(UpstreamTimeout):
                async with arrivals.slot():
                    raise AssertionError("there is no turn left")
