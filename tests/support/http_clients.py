"""Clients that send commands to a model at once; each checks that it gets the response to its own request."""

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

    HttpClient = Gateway | aiohttp.ClientSession

COMMANDS = "/model/api-commands/1/invocation"
_MILLISECONDS = re.compile(r"dur=([0-9.]+)")
_JSON = {"Content-Type": "application/json"}


async def post_commands(gateway: HttpClient, *commands: str, path: str = COMMANDS) -> tuple[int, Any, Any]:
    """Have the model run the commands; return the status, the headers and the JSON of the response."""
    async with gateway.post(path, data=body(do=list(commands)), headers=_JSON) as response:
        return response.status, response.headers, await response.json()


@dataclass
class ClientResults:
    """The responses to all clients.

    `right` has the time of each right response and its latency in seconds. `server_seconds` are the times of
    right responses that the gateway reports: many clients in one process notice a response late. `refused`
    are the responses with another status than 200. `wrong` are responses to another request.
    """

    right: list[tuple[float, float]] = field(default_factory=list)
    server_seconds: list[float] = field(default_factory=list)
    refused: list[tuple[int, Any, Any]] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)

    def statuses(self) -> set[int]:
        """Return the statuses other than 200."""
        return {status for status, _, _ in self.refused}

    def quantile(self, share: float, *, since: float = 0.0) -> float:
        """Return this quantile of the latencies of responses after `since`."""
        return _quantile([seconds for when, seconds in self.right if when >= since], share)

    def server_quantile(self, share: float) -> float:
        """Return this quantile of the times that the gateway reports."""
        return _quantile(self.server_seconds, share)

    def answered_since(self, moment: float) -> bool:
        """Return whether there is a right response to a request that was sent after `moment`."""
        return any(when - seconds >= moment for when, seconds in self.right)

    def pause_after(self, moment: float) -> float:
        """Return the seconds from `moment` to the first right response to a request sent after it."""
        return min(when for when, seconds in self.right if when - seconds >= moment) - moment


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@asynccontextmanager
async def clients(
    gateway: HttpClient, number: int, *commands: str, path: str = COMMANDS, pause: float = 0.0
) -> AsyncIterator[ClientResults]:
    """Let `number` clients send requests while the context lasts, each with a word that the model returns.

    A client waits `pause` seconds after a refusal. At the end each waits for its last response.
    """
    results, stop, numbers = ClientResults(), asyncio.Event(), count()

    async def client() -> None:
        while not stop.is_set():
            word, began = f"word-{next(numbers)}", monotonic()
            status, headers, answer = await post_commands(gateway, *commands, f"say {word}", path=path)
            if status != 200:
                results.refused.append((status, headers, answer))
                await asyncio.sleep(pause)
            elif answer["predictions"] == [word]:
                results.right.append((monotonic(), monotonic() - began))
                milliseconds = sum(map(float, _MILLISECONDS.findall(headers["Server-Timing"])))
                results.server_seconds.append(milliseconds / 1000)
            else:
                results.wrong.append(answer)

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(client())
        try:
            yield results
        finally:
            stop.set()
