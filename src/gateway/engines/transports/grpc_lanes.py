"""One link over gRPC, the node's end: two calls of one gateway that are one transport."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from grpc import aio

from gateway.engines.wire.protocol import LARGE_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.engines.transports.protocol import Receiver, Transport

    Part = bytes | memoryview

_MAX_UNSENT_BYTES: Final = 32 * 2**20
"""A gateway that leaves more unread is not read either."""
_FLUSH_SECONDS: Final = 1.0  # for what was sent before the link is closed


class ServerLink:
    """A transport of two lanes. It begins when the small lane is there, and ends with either."""

    def __init__(self, accept: Callable[[Transport], Receiver], *, on_end: Callable[[], None]) -> None:
        self._accept = accept
        self._on_end = on_end
        self._receiver: Receiver | None = None
        self.small, self.large = ServerLane(self), ServerLane(self)
        self.began = asyncio.Event()
        self.closing = asyncio.Event()

    def send(self, message: Sequence[Part]) -> None:
        """Send the parts of one message, on the lane for its size."""
        if not self.closing.is_set():
            joined = b"".join(message)
            lane = self.small if len(joined) <= LARGE_MESSAGE_BYTES else self.large
            lane.put(joined)

    @property
    def unsent_bytes(self) -> int:
        """The bytes that neither lane has given to the network."""
        return self.small.unsent_bytes + self.large.unsent_bytes

    def close(self, reason: str = "closed here") -> None:
        """End the link, once what was sent is on its way or cannot be."""
        if self.closing.is_set():
            return
        self.closing.set()
        self.began.set()
        self.small.flush()
        self.large.flush()
        self._on_end()
        if self._receiver is not None:
            asyncio.get_running_loop().call_soon(self._receiver.on_lost, reason)

    def close_if_incomplete(self) -> None:
        """End the link if one of its lanes did not come."""
        if not (self.small.taken and self.large.taken):
            self.close("only one of two lanes came")

    def begin(self) -> None:
        """Accept the link."""
        if self._receiver is None:
            self._receiver = self._accept(self)
            self.began.set()

    def deliver(self, message: bytes) -> None:
        """Give the receiver a message."""
        if self._receiver is not None and not self.closing.is_set():
            self._receiver.on_message(message)


class ServerLane:
    """One of the two calls of a link."""

    def __init__(self, link: ServerLink) -> None:
        self.link = link
        self.taken = False
        self.unsent_bytes = 0
        self._unsent: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Send a message after those that were put before."""
        self._unsent.append(message)
        self.unsent_bytes += len(message)
        self._wake.set()

    def flush(self) -> None:
        """Have the writer see that the link is closing."""
        self._wake.set()

    async def run(self, context: aio.ServicerContext[bytes, bytes]) -> None:
        """Carry messages both ways until the link ends, or the gateway ends this call."""
        link = self.link
        if self is link.small:
            link.begin()
        writer = asyncio.create_task(self._write(context), name="write a lane")
        reader = asyncio.create_task(self._read(context), name="read a lane")
        closing = asyncio.create_task(link.closing.wait(), name="wait for the end of a link")
        tasks = {writer, reader, closing}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if link.closing.is_set() and not writer.done():
                await asyncio.wait({writer}, timeout=_FLUSH_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, context: aio.ServicerContext[bytes, bytes]) -> None:
        link = self.link
        await link.began.wait()
        while (message := await context.read()) is not aio.EOF:
            link.deliver(message)
            while link.unsent_bytes > _MAX_UNSENT_BYTES:
                link.small.progress.clear()
                link.large.progress.clear()
                await _first(link.small.progress, link.large.progress)

    async def _write(self, context: aio.ServicerContext[bytes, bytes]) -> None:
        while True:
            while self._unsent:
                message = self._unsent.popleft()
                await context.write(message)
                self.unsent_bytes -= len(message)
                self.progress.set()
            if self.link.closing.is_set():
                return
            self._wake.clear()
            await self._wake.wait()

    @property
    def progress(self) -> asyncio.Event:
        """Is set when the network has taken a message."""
        return self._progress


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
