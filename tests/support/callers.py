"""A light load of eight clients that goes on while something is broken."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.gateways import invoke

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.gateways import Gateway

CALLERS = 8
_PAUSE_SECONDS = 0.02


@dataclass
class Callers:
    """`right` counts the expected responses; `wrong` counts all others, by path and status."""

    right: int = 0
    wrong: Counter[tuple[str, int]] = field(default_factory=Counter)


@asynccontextmanager
async def calling(gateway: Gateway, expected: dict[str, list[float]]) -> AsyncIterator[Callers]:
    """Let eight clients request these paths in turn while the context lasts.

    `expected` has the predictions that each path must return.
    """
    callers = Callers()
    stop = asyncio.Event()
    paths = list(expected)
    tasks = [
        asyncio.create_task(_call(gateway, expected, paths=paths[n:] + paths[:n], callers=callers, stop=stop))
        for n in (number % len(paths) for number in range(CALLERS))
    ]
    try:
        yield callers
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _call(
    gateway: Gateway,
    expected: dict[str, list[float]],
    *,
    paths: Sequence[str],
    callers: Callers,
    stop: asyncio.Event,
) -> None:
    while not stop.is_set():
        for path in paths:
            status, answer = await invoke(gateway, path)
            if status == 200 and answer["predictions"] == expected[path]:
                callers.right += 1
            else:
                callers.wrong[path, status] += 1
            await asyncio.sleep(_PAUSE_SECONDS)
