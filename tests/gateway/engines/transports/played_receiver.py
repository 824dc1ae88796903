"""A receiver that keeps what it gets."""

from __future__ import annotations

import asyncio


class PlayedReceiver:
    """A receiver whose messages are awaited one by one, and then the reason of the end."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.ends: list[str] = []
        self._lost = asyncio.Event()

    def on_message(self, message: bytes) -> None:
        """Keep it."""
        assert type(message) is bytes
        self.messages.put_nowait(message)

    def on_lost(self, reason: str) -> None:
        """Keep the reason."""
        self.ends.append(reason)
        self._lost.set()

    async def next(self) -> bytes:
        """Return the next message, once it is there."""
        async with asyncio.timeout(30):
            return await self.messages.get()

    async def lost(self) -> str:
        """Return why the link ended, once it has."""
        async with asyncio.timeout(30):
            await self._lost.wait()
        return self.ends[0]
