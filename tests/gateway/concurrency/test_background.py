"""Proves that a background task is restarted after an error, which is logged and counted."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.concurrency.background import install_exception_handler, supervised_task
from gateway.errors import INTERNAL_ERRORS
from workers.metrics import Counters

if TYPE_CHECKING:
    import pytest

PATIENCE_SECONDS = 60.0


async def test_work_that_raises_is_restarted(caplog: pytest.LogCaptureFixture) -> None:
    """Each time it raises; once it returns, it is not started again."""
    counters, done = Counters(), asyncio.Event()
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise KeyError("odd")
        done.set()

    async with (
        supervised_task(work, name="work", counters=counters, initial_delay=0.01),
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await done.wait()
    assert (tries, counters.value(INTERNAL_ERRORS, "work")) == (3, 2)
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info is not None for record in records] == [True, True]


async def test_work_ends_with_its_context() -> None:
    """It is cancelled, and has ended when the context has."""
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    async with supervised_task(work, name="work", counters=Counters()):
        await asyncio.sleep(0)
    assert ended


async def test_what_a_callback_raises_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Although no code awaits it; the loop continues."""
    counters = Counters()
    loop = asyncio.get_running_loop()
    install_exception_handler(counters)
    try:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert counters.value(INTERNAL_ERRORS, "event loop") == 1
    (record,) = [record for record in caplog.records if record.name == "gateway.concurrency.background"]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_counters_exist_before_the_first_error() -> None:
    """They start at 0: a monitor sees no increase in a counter that starts at 1."""
    counters = Counters()
    loop = asyncio.get_running_loop()
    install_exception_handler(counters)
    loop.set_exception_handler(None)

    async def work() -> None:
        await asyncio.Event().wait()

    async with supervised_task(work, name="work", counters=counters):
        assert dict(counters.counts) == {
            (INTERNAL_ERRORS, ("event loop",)): 0,
            (INTERNAL_ERRORS, ("work",)): 0,
        }
