"""The background tasks of one owner."""

from __future__ import annotations

import asyncio
from typing import Any

from workers.scheduler.background import BackgroundTasks


async def test_an_exception_is_reported_at_once_with_the_owner() -> None:
    """The loop's handler gets it when it is raised, long before the owner awaits its tasks."""
    loop = asyncio.get_running_loop()
    reported: asyncio.Future[dict[str, Any]] = loop.create_future()
    loop.set_exception_handler(lambda _, context: reported.set_result(context))
    tasks = BackgroundTasks("m/1")
    tasks.spawn(_fail())
    async with asyncio.timeout(30):
        context = await reported
    assert context["message"] == "A task of m/1 failed."
    assert isinstance(context["exception"], LookupError)
    await tasks.wait()


async def test_a_cancelled_task_is_awaited_to_its_end() -> None:
    """`wait` returns after the cleanup of a cancelled task, so that a closed owner leaves nothing running."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def run_until_cancelled() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    tasks = BackgroundTasks("m/1")
    tasks.spawn(run_until_cancelled())
    await started.wait()
    tasks.cancel()
    assert not ended.is_set()
    await tasks.wait()
    assert ended.is_set()


async def test_a_task_that_ended_is_forgotten() -> None:
    """An owner that lives for a year does not collect its tasks."""
    tasks = BackgroundTasks("m/1")
    for _ in range(3):
        tasks.spawn(asyncio.sleep(0))
    await tasks.wait()
    await asyncio.sleep(0)
    assert not tasks._tasks


async def _fail() -> None:
    raise LookupError
