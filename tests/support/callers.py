"""A little load that goes on while something is broken, and what came of it."""

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
    """`wrong` are the answers, by path and status, that were not the right one; `right` is how many were."""

    right: int = 0
    wrong: Counter[tuple[str, int]] = field(default_factory=Counter)


@asynccontextmanager
async def calling(gateway: Gateway, expected: dict[str, list[float]]) -> AsyncIterator[Callers]:
    """Eight clients ask the models at these paths in turn, meanwhile; each path has one right answer."""
    callers = Callers()
    over = asyncio.Event()
    paths = list(expected)
    tasks = [
        asyncio.create_task(_call(gateway, expected, paths=paths[n:] + paths[:n], callers=callers, over=over))
        for n in (number % len(paths) for number in range(CALLERS))
    ]
    try:
        yield callers
    finally:
        over.set()
        await asyncio.gather(*tasks)


async def _call(
    gateway: Gateway,
    expected: dict[str, list[float]],
    *,
    paths: Sequence[str],
    callers: Callers,
    over: asyncio.Event,
) -> None:
    while not over.is_set():
        for path in paths:
            status, answer = await invoke(gateway, path)
            if status == 200 and answer["predictions"] == expected[path]:
                callers.right += 1
            else:
                callers.wrong[path, status] += 1
            await asyncio.sleep(_PAUSE_SECONDS)
