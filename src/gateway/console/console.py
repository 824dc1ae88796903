"""The parts behind the pages, and the key under which the application holds them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.api.keys import COMPONENTS
from gateway.concurrency.background import supervised_task
from gateway.console.processes import Processes
from gateway.console.response_cache import ResponseCache
from gateway.console.summaries import Summaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.api.keys import Components


class Console:
    """What the pages show of one application."""

    def __init__(self, components: Components) -> None:
        self.components = components
        self.processes = Processes(components)
        self.summaries = Summaries(components)
        self.responses = ResponseCache()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Notice events and publish this process' state until the context ends."""
        try:
            async with supervised_task(self.processes.run, name="console", counters=self.components.counters):
                yield
        finally:
            await self.responses.close()
            await self.summaries.close()


CONSOLE: Final = web.AppKey("console", Console)


def create_console(app: web.Application) -> Console:
    """Give the application its console, and return it."""
    console = app[CONSOLE] = Console(app[COMPONENTS])
    return console
