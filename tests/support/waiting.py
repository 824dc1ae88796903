"""Poll for a condition that no event signals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def until(condition: Callable[[], bool], *, within: float = 60.0, interval: float = 0.005) -> None:
    """Return when `condition()` is true; raise TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            if condition():
                return
            await asyncio.sleep(interval)


async def poll(
    get: Callable[[], Awaitable[T]],
    accept: Callable[[T], bool],
    *,
    within: float = 60.0,
    interval: float = 0.1,
) -> T:
    """Return the first result of `get()` that `accept` takes; raise TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            if accept(result := await get()):
                return result
            await asyncio.sleep(interval)
