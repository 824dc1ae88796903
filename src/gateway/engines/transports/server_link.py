"""The node's end of a link: one or two connections of a gateway that are one transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.engines.wire.protocol import LARGE_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.engines.transports.message_stream import MessageStream
    from gateway.engines.transports.protocol import Part, Receiver, Transport


class ServerLink:
    """A transport that begins with the connection for small messages, and ends with either.

    A gateway that leaves too much unread is not read either, so that what it asks for does not pile up here.
    """

    def __init__(
        self,
        small: MessageStream,
        accept: Callable[[Transport], Receiver],
        *,
        max_bytes: int,
        on_end: Callable[[], None],
    ) -> None:
        """`accept` returns the receiver of the link."""
        self._streams = [small]
        self._max_bytes = max_bytes
        self._on_end = on_end
        self._full: set[MessageStream] = set()
        self._closed = False
        self._receiver = accept(self)
        self._take(small)

    @property
    def has_large(self) -> bool:
        """Whether it has a connection for large messages."""
        return len(self._streams) > 1

    def add_large(self, stream: MessageStream) -> None:
        """Send large messages over this connection from now on."""
        self._streams.append(stream)
        self._take(stream)

    def send(self, message: Sequence[Part]) -> None:
        """Send the parts of one message, over the connection for its size."""
        if self._closed:
            return
        is_large = len(self._streams) > 1 and sum(map(len, message)) > LARGE_MESSAGE_BYTES
        self._streams[is_large].send(message)

    @property
    def unsent_bytes(self) -> int:
        """The bytes that no connection has given to the system."""
        return sum(stream.unsent_bytes for stream in self._streams)

    def close(self, reason: str = "closed here") -> None:
        """End the link, once what was sent is on its way or cannot be."""
        if self._closed:
            return
        self._closed = True
        for stream in self._streams:
            stream.finish(reason)
        self._on_end()
        asyncio.get_running_loop().call_soon(self._receiver.on_lost, reason)

    def on_message(self, message: bytes) -> None:
        """Pass a message of either connection on."""
        if not self._closed:
            self._receiver.on_message(message)

    def on_lost(self, reason: str) -> None:
        """End the link with one of its connections."""
        self.close(reason)

    def _take(self, stream: MessageStream) -> None:
        stream.receiver, stream.max_bytes, stream.on_full = self, self._max_bytes, self._on_full

    def _on_full(self, stream: MessageStream, is_full: bool) -> None:
        (self._full.add if is_full else self._full.discard)(stream)
        for each in self._streams:
            each.set_reading(not self._full)
