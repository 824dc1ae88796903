"""The requests that are being answered, and whether new ones are still welcome."""

from __future__ import annotations

import asyncio


class Drain:
    """Counts the requests in flight, so that a gateway that is shutting down can wait for the last."""

    def __init__(self) -> None:
        self.started = False
        self.in_flight = 0
        self._empty = asyncio.Event()

    def enter(self) -> None:
        """A request has come."""
        self.in_flight += 1

    def leave(self) -> None:
        """Its answer is made."""
        self.in_flight -= 1
        if self.started and self.in_flight == 0:
            self._empty.set()

    def start(self) -> None:
        """From now on the gateway is not ready any more."""
        self.started = True
        if self.in_flight == 0:
            self._empty.set()

    async def wait(self) -> None:
        """Until no request is in flight; only after `start`."""
        await self._empty.wait()
