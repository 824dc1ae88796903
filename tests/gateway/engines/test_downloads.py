"""Proves how many model slots wait for downloads."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from gateway import settings
from gateway.engines.downloads import DownloadLimiter
from gateway.errors import UpstreamTimeout
from gateway.settings import CurrentSettings


def current(**values: object) -> CurrentSettings:
    """Return settings of which these differ from the defaults, by the end of their name."""
    return CurrentSettings(settings.load({f"GATEWAY_{name}": str(value) for name, value in values.items()}))


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (32, 16)])
async def test_half_of_the_slots_wait_for_downloads(slots: int, most: int) -> None:
    """One at least may wait; a further download fails in time, with the number of those that wait."""
    limiter = DownloadLimiter(current(MAX_LOADED_MODELS=slots, REQUEST_TIMEOUT_SECONDS=0.05))
    async with AsyncExitStack() as stack:
        for _ in range(most):
            await stack.enter_async_context(limiter.slot())
        with pytest.raises(UpstreamTimeout, match=f"files of {most} other"):
            async with limiter.slot():
                raise AssertionError("there is no slot left")
    async with limiter.slot():
        pass


async def test_a_released_slot_goes_to_the_next_that_waits() -> None:
    """A waiting download that was cancelled does not keep the slot from the one after it."""
    limiter = DownloadLimiter(current(MAX_LOADED_MODELS=2, REQUEST_TIMEOUT_SECONDS=60))
    done = asyncio.Event()

    async def download() -> None:
        async with limiter.slot():
            await done.wait()

    first, cancelled, last = [asyncio.create_task(download()) for _ in range(3)]
    await asyncio.sleep(0)
    cancelled.cancel()
    done.set()
    await asyncio.gather(first, last)


async def test_a_changed_limit_holds_for_later_downloads() -> None:
    """A download that has a slot keeps it."""
    values = {"MAX_LOADED_MODELS": 2, "REQUEST_TIMEOUT_SECONDS": 0.05}
    live = current(**values)
    limiter = DownloadLimiter(live)
    async with limiter.slot():
        live.value = current(**values | {"MAX_LOADED_MODELS": 4}).value
        async with limiter.slot(), limiter.slot():
            with pytest.raises(UpstreamTimeout):
                async with limiter.slot():
                    raise AssertionError("there is no slot left")
