"""One running call per key."""

from __future__ import annotations

import asyncio

import pytest

from gateway.concurrency.singleflight import SingleFlight, SingleFlightClosed


class Call:
    """A call that waits until it is let go, and counts how often it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = False
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self.begun


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_askers_of_a_key_share_one_call() -> None:
    """64 askers, one call, one answer; an asker of another key has a call of its own."""
    once: SingleFlight[str] = SingleFlight()
    call, other = Call(), Call()
    asked = [asyncio.create_task(once.do("a", call)) for _ in range(64)]
    asked.append(asyncio.create_task(once.do("b", other)))
    await settle()
    call.go.set()
    other.go.set()
    assert await asyncio.gather(*asked) == [1] * 65
    assert (call.begun, other.begun) == (1, 1)


async def test_nothing_is_remembered() -> None:
    """Who asks after the end gets a call of its own."""
    once: SingleFlight[str] = SingleFlight()
    call = Call()
    call.go.set()
    assert await once.do("a", call) == 1
    assert await once.do("a", call) == 2


async def test_a_cancelled_asker_does_not_cancel_the_call() -> None:
    """Neither when others wait nor when nobody does: the call goes on, and a late asker joins it."""
    once: SingleFlight[str] = SingleFlight()
    call = Call()
    asker = asyncio.create_task(once.do("a", call))
    await settle()
    asker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
    late = asyncio.create_task(once.do("a", call))
    await settle()
    call.go.set()
    assert await late == 1
    assert not call.cancelled


async def test_a_failure_reaches_every_asker_and_is_forgotten() -> None:
    """The same error for all who waited; the next one tries anew."""
    once: SingleFlight[str] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError("no")

    outcomes = await asyncio.gather(*(once.do("a", fail) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    call = Call()
    call.go.set()
    assert await once.do("a", call) == 1


async def test_close_ends_calls_and_tells_askers() -> None:
    """The call is cancelled and over when close returns; askers get an error, not a cancellation."""
    once: SingleFlight[str] = SingleFlight()
    call = Call()
    asker = asyncio.create_task(once.do("a", call))
    await settle()
    await once.close()
    assert call.cancelled
    with pytest.raises(SingleFlightClosed):
        await asker
    with pytest.raises(SingleFlightClosed):
        await once.do("a", call)
    assert call.begun == 1
