"""Whole messages over a stream socket: each has its length before it."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.engines.transports.protocol import Part, Receiver

_LENGTH: Final = struct.Struct("<Q")
_BUFFER_BYTES: Final = 256 * 1024  # a message that fits takes no memory of its own while it arrives
_MAX_JOINED_BYTES: Final = 256 * 1024  # to copy smaller messages once more is faster than to send parts
_HIGH_WATER_BYTES: Final = 32 * 2**20
_FINISH_SECONDS: Final = 1.0


class MessageStream(asyncio.BufferedProtocol):
    """One end of a connection that carries whole messages in order, both ways.

    uvloop writes the messages of one turn at once. A message of more than `max_bytes` ends the connection
    before memory is taken for it. `peer` is the host at the other end.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        max_bytes: int,
        on_open: Callable[[MessageStream, asyncio.Transport], None] | None = None,
        on_end: Callable[[MessageStream], None] | None = None,
    ) -> None:
        """`on_open` is called once connected; `on_end` after the receiver's `on_lost`.

        Each message goes to the `receiver` of its time. `on_full` is called when too much is unsent, and when
        that has changed.
        """
        self.receiver = receiver
        self.max_bytes = max_bytes
        self.peer = "this machine"
        self.on_full: Callable[[MessageStream, bool], None] | None = None
        self._on_open = on_open
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._finishing: asyncio.TimerHandle | None = None
        self._buffer = memoryview(bytearray(min(_BUFFER_BYTES, 2 * max_bytes)))
        self._filled = 0
        self._large: memoryview | None = None  # a message that does not fit into the buffer, and
        self._arrived = 0  # the bytes of it that are there
        self._reason = ""

    def send(self, message: Sequence[Part]) -> None:
        """Send the parts of one message; do nothing if the connection has ended."""
        if self._transport is None:
            return
        size = sum(map(len, message))
        if size > _MAX_JOINED_BYTES:
            self._transport.writelines([_LENGTH.pack(size), *message])
        else:
            self._transport.write(b"".join((_LENGTH.pack(size), *message)))

    @property
    def is_open(self) -> bool:
        """Whether the connection has neither ended nor been closed here."""
        return self._transport is not None and self._finishing is None

    @property
    def ended_here(self) -> bool:
        """Whether this end has ended the connection, not the other one or the network."""
        return bool(self._reason)

    @property
    def unsent_bytes(self) -> int:
        """The bytes that were given to `send`, and not yet taken by the system."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def set_reading(self, reading: bool) -> None:
        """Pass messages on, or let what comes wait, also what is in the buffer already."""
        if self._reading == reading or not self.is_open:
            return
        self._reading = reading
        if reading:
            asyncio.get_running_loop().call_soon(self._resume)
        elif self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def close(self, reason: str = "closed here") -> None:
        """End the connection; what is unsent is dropped. The receiver's `on_lost` is called later."""
        self._reason = self._reason or reason
        if self._finishing is not None:
            self._finishing.cancel()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def finish(self, reason: str = "closed here") -> None:
        """End the connection once what was sent has arrived, or a second has passed; read nothing more."""
        if self._transport is None or self._finishing is not None:
            return
        self._reason = self._reason or reason
        self._filled, self._large = 0, None  # there is room for what is read and dropped
        self._finishing = asyncio.get_running_loop().call_later(_FINISH_SECONDS, self.close)
        if self._transport.can_write_eof():
            if not self._transport.is_reading():
                self._transport.resume_reading()
            try:
                self._transport.write_eof()  # the end of the other side's sending ends the connection
            except (OSError, RuntimeError):  # it has ended, which the loop has not told yet
                self.close()
        else:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
        if isinstance(name := transport.get_extra_info("peername"), tuple):
            self.peer = str(name[0])
        if self._on_open is not None:
            self._on_open(self, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver; called by the loop."""
        self._transport = self._large = None
        if self._finishing is not None:
            self._finishing.cancel()
        self.receiver.on_lost(self._reason or (str(exc) if exc else "closed by the other end"))
        if self._on_end is not None:
            self._on_end(self)

    def pause_writing(self) -> None:
        """Tell that the other end reads too slowly; called by the loop."""
        if self.on_full is not None:
            self.on_full(self, True)

    def resume_writing(self) -> None:
        """Tell that the other end has read enough; called by the loop."""
        if self.on_full is not None:
            self.on_full(self, False)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return memory for the next bytes; called by the loop."""
        del sizehint
        if self._large is not None:
            return self._large[self._arrived :]
        if self._filled:
            return self._buffer[self._filled :]
        if self.max_bytes >= len(self._buffer) < _BUFFER_BYTES:  # a caller that has proven nothing gets less
            self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that have come, and pass on the messages that are complete; called by the loop."""
        if self._finishing is not None:
            return
        if self._large is None:
            self._filled += nbytes
            self._read_messages()
            return
        self._arrived += nbytes
        if self._arrived == len(self._large):
            message, self._large = bytes(self._large), None
            self.receiver.on_message(message)

    def _read_messages(self) -> None:
        """Pass on every complete message in the buffer; what is left is at its start then."""
        start, filled, buffer = 0, self._filled, self._buffer
        while filled - start >= _LENGTH.size and self.is_open and self._reading:
            (size,) = _LENGTH.unpack_from(buffer, start)
            first = start + _LENGTH.size
            end = first + size
            if size > self.max_bytes:
                self.close(f"a message of {size} bytes, where {self.max_bytes} are allowed")
                return
            if end > filled:
                if first + size - start > len(buffer):
                    self._begin_large(size, buffer[first:filled])
                    return
                break
            message = bytes(buffer[first:end])
            start = end
            self.receiver.on_message(message)
        if start:
            left = filled - start
            buffer[:left] = buffer[start:filled]
            self._filled = left

    def _resume(self) -> None:
        """Pass on what has waited in the buffer, and then read more."""
        if self._reading and self.is_open:
            self._read_messages()
        transport = self._transport
        if self._reading and self.is_open and transport is not None and not transport.is_reading():
            transport.resume_reading()

    def _begin_large(self, size: int, early: memoryview) -> None:
        """Receive the rest of a message into memory of its own."""
        self._large, self._arrived = memoryview(bytearray(size)), len(early)
        self._large[: len(early)] = early
        self._filled = 0
