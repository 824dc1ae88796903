"""Waiting for the first of several things to happen."""

from __future__ import annotations

import asyncio


async def wait_first(*awaited: asyncio.Event | asyncio.Task[None]) -> None:
    """Wait until one of the tasks is done or one of the events is set."""
    waiters = [asyncio.create_task(each.wait()) for each in awaited if isinstance(each, asyncio.Event)]
    tasks = [each for each in awaited if isinstance(each, asyncio.Task)]
    try:
        await asyncio.wait([*waiters, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
