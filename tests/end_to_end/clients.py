"""Many clients of `api-commands`, each of which checks that it gets its own answer and no other."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from tests.models import body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.gateways import Gateway

    Asked = Gateway | aiohttp.ClientSession

COMMANDS = "/model/api-commands/1/invocation"
_JSON = {"Content-Type": "application/json"}


async def told(gateway: Asked, *words: str, path: str = COMMANDS) -> tuple[int, Any, Any]:
    """Status, headers and JSON of the answer to these commands."""
    async with gateway.post(path, data=body(do=list(words)), headers=_JSON) as answer:
        return answer.status, answer.headers, await answer.json()


@dataclass
class Seen:
    """What clients were answered: how many rightly, with the seconds of each; what else by status."""

    right: list[tuple[float, float]] = field(default_factory=list)
    refused: list[tuple[int, Any, Any]] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)

    def statuses(self) -> set[int]:
        """Of what was not answered."""
        return {status for status, _, _ in self.refused}

    def quantile(self, share: float, *, since: float = 0.0) -> float:
        """The seconds that this share of the answers took at most."""
        taken = sorted(seconds for when, seconds in self.right if when >= since)
        return taken[min(len(taken) - 1, int(share * len(taken)))]

    def answered_since(self, moment: float) -> bool:
        """Whether a request made after `moment` was answered."""
        return any(when - seconds >= moment for when, seconds in self.right)

    def pause_after(self, moment: float) -> float:
        """How long after `moment` the next right answer came whose request was made after it."""
        return min(when for when, seconds in self.right if when - seconds >= moment) - moment


@asynccontextmanager
async def clients(
    gateway: Asked, number: int, *words: str, path: str = COMMANDS, pause: float = 0.0
) -> AsyncIterator[Seen]:
    """So many clients that ask without end while the context lasts, each time for a word of their own."""
    seen, stop, numbers = Seen(), asyncio.Event(), count()

    async def client() -> None:
        while not stop.is_set():
            word, began = f"word-{next(numbers)}", monotonic()
            status, headers, answer = await told(gateway, *words, f"say {word}", path=path)
            if status != 200:
                seen.refused.append((status, headers, answer))
                await asyncio.sleep(pause)
            elif answer["predictions"] == [word]:
                seen.right.append((monotonic(), monotonic() - began))
            else:
                seen.wrong.append(answer)

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(client())
        try:
            yield seen
        finally:
            stop.set()
