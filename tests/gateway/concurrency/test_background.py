"""Proves that a task of the gateway's own goes on after an error, which is logged and counted."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.concurrency.background import install_exception_handler, supervised_task
from gateway.errors import INTERNAL_ERRORS
from workers.metrics import Counters

if TYPE_CHECKING:
    import pytest

SECONDS = 10.0


async def test_work_that_raises_is_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    """As often as it raises; once it ends by itself it is over."""
    tally, over = Counters(), asyncio.Event()
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise KeyError("odd")
        over.set()

    async with (
        supervised_task(work, name="work", counters=tally, initial_backoff=0.01),
        asyncio.timeout(SECONDS),
    ):
        await over.wait()
    assert (tries, tally.value(INTERNAL_ERRORS, "work")) == (3, 2)
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info is not None for record in records] == [True, True]


async def test_work_ends_with_its_owner() -> None:
    """It is cancelled, and has ended when the context is left."""
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
    """Nobody awaits it, and the loop turns on."""
    tally = Counters()
    loop = asyncio.get_running_loop()
    install_exception_handler(tally)
    try:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(0.01)
    finally:
        loop.set_exception_handler(None)
    assert tally.value(INTERNAL_ERRORS, "event loop") == 1
    (record,) = [record for record in caplog.records if record.name == "gateway.concurrency.background"]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_what_can_fail_is_shown_before_it_does() -> None:
    """As 0: whoever watches for an increase would not see a count that begins at 1."""
    tally = Counters()
    loop = asyncio.get_running_loop()
    install_exception_handler(tally)
    loop.set_exception_handler(None)

    async def work() -> None:
        await asyncio.Event().wait()

    async with supervised_task(work, name="work", counters=tally):
        shown = dict(tally.counts)
        assert shown == {
            (INTERNAL_ERRORS, ("event loop",)): 0,
            (INTERNAL_ERRORS, ("work",)): 0,
        }
