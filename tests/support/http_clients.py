"""Many clients of `api-commands`, each of which checks that it gets its own answer and no other."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from tests.support.models import body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.support.gateways import Gateway

    Asked = Gateway | aiohttp.ClientSession

COMMANDS = "/model/api-commands/1/invocation"
_MILLISECONDS = re.compile(r"dur=([0-9.]+)")
_JSON = {"Content-Type": "application/json"}


async def told(gateway: Asked, *words: str, path: str = COMMANDS) -> tuple[int, Any, Any]:
    """Status, headers and JSON of the answer to these commands."""
    async with gateway.post(path, data=body(do=list(words)), headers=_JSON) as answer:
        return answer.status, answer.headers, await answer.json()


@dataclass
class Seen:
    """What clients were answered: when rightly, with the seconds of each; what else by status.

    `inside` are the seconds that the gateway says right answers took there: many clients in one process
    are slow to notice theirs.
    """

    right: list[tuple[float, float]] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    refused: list[tuple[int, Any, Any]] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)

    def statuses(self) -> set[int]:
        """Of what was not answered."""
        return {status for status, _, _ in self.refused}

    def quantile(self, share: float, *, since: float = 0.0) -> float:
        """The seconds that this share of the answers took at most."""
        return _quantile([seconds for when, seconds in self.right if when >= since], share)

    def quantile_inside(self, share: float) -> float:
        """The same of the seconds inside the gateway."""
        return _quantile(self.inside, share)

    def answered_since(self, moment: float) -> bool:
        """Whether a request made after `moment` was answered."""
        return any(when - seconds >= moment for when, seconds in self.right)

    def pause_after(self, moment: float) -> float:
        """How long after `moment` the next right answer came whose request was made after it."""
        return min(when for when, seconds in self.right if when - seconds >= moment) - moment


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


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
                seen.inside.append(sum(map(float, _MILLISECONDS.findall(headers["Server-Timing"]))) / 1000)
            else:
                seen.wrong.append(answer)

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(client())
        try:
            yield seen
        finally:
            stop.set()
