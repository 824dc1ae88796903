"""Proves that concurrent callers of a key share one call."""

from __future__ import annotations

import asyncio

import pytest

from gateway.concurrency.singleflight import SingleFlight, SingleFlightClosed


class Call:
    """A call that waits until `go` is set, and counts how often it was started."""

    def __init__(self) -> None:
        self.starts = 0
        self.cancelled = False
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.starts += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self.starts


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_of_a_key_share_one_call() -> None:
    """64 callers get the result of one call; the caller of another key gets that of another call."""
    flight: SingleFlight[str] = SingleFlight()
    call, other = Call(), Call()
    callers = [asyncio.create_task(flight.do("a", call)) for _ in range(64)]
    callers.append(asyncio.create_task(flight.do("b", other)))
    await settle()
    call.go.set()
    other.go.set()
    assert await asyncio.gather(*callers) == [1] * 65
    assert (call.starts, other.starts) == (1, 1)


async def test_results_are_not_cached() -> None:
    """A caller after the end of a call starts another one."""
    flight: SingleFlight[str] = SingleFlight()
    call = Call()
    call.go.set()
    assert await flight.do("a", call) == 1
    assert await flight.do("a", call) == 2


async def test_a_cancelled_caller_does_not_cancel_the_call() -> None:
    """Even the only caller: the call continues, and a later caller joins it."""
    flight: SingleFlight[str] = SingleFlight()
    call = Call()
    caller = asyncio.create_task(flight.do("a", call))
    await settle()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    late = asyncio.create_task(flight.do("a", call))
    await settle()
    call.go.set()
    assert await late == 1
    assert not call.cancelled


async def test_a_failure_reaches_every_caller_and_is_not_cached() -> None:
    """All callers get the same error; the next caller starts another call."""
    flight: SingleFlight[str] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError("no")

    outcomes = await asyncio.gather(*(flight.do("a", fail) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    call = Call()
    call.go.set()
    assert await flight.do("a", call) == 1


async def test_close_cancels_calls() -> None:
    """The call has ended when `close` returns; its callers get an error and are not cancelled themselves."""
    flight: SingleFlight[str] = SingleFlight()
    call = Call()
    caller = asyncio.create_task(flight.do("a", call))
    await settle()
    await flight.close()
    assert call.cancelled
    with pytest.raises(SingleFlightClosed):
        await caller
    with pytest.raises(SingleFlightClosed):
        await flight.do("a", call)
    assert call.starts == 1


async def test_whether_a_call_runs() -> None:
    """It does from its start until it has ended, also after its caller has given up."""
    flight, proceed = SingleFlight[str](), asyncio.Event()
    caller = asyncio.create_task(flight.do("key", proceed.wait))
    assert not flight.is_running("key")
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    assert flight.is_running("key")
    assert not flight.is_running("other")
    proceed.set()
    assert await flight.do("key", proceed.wait)
    assert not flight.is_running("key")
