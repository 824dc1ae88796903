"""What runs beside its owner's work."""

from __future__ import annotations

import asyncio
from typing import Any

from workers.scheduler.background import BackgroundTasks


async def test_a_failure_is_told_at_once_with_whose_it_is() -> None:
    """Nobody awaits an errand before its owner closes: what it raises must not wait for that."""
    told: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.set_result(context))
    errands = BackgroundTasks("m/1")
    errands.spawn(_fails())
    async with asyncio.timeout(10):
        context = await told
    assert context["message"] == "A task of m/1 failed."
    assert isinstance(context["exception"], LookupError)
    await errands.wait()


async def test_what_is_cancelled_is_awaited_to_its_end() -> None:
    """An owner that has closed leaves nothing running, even where breaking off takes a while."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def lasting() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    errands = BackgroundTasks("m/1")
    errands.spawn(lasting())
    await begun.wait()
    errands.cancel()
    assert not ended.is_set()
    await errands.wait()
    assert ended.is_set()


async def test_what_has_ended_is_forgotten() -> None:
    """An owner that lives for a year does not gather its errands."""
    errands = BackgroundTasks("m/1")
    for _ in range(3):
        errands.spawn(asyncio.sleep(0))
    await errands.wait()
    await asyncio.sleep(0)
    assert not errands._tasks


async def _fails() -> None:
    raise LookupError
