"""Send batches to one worker over its socket, and receive the replies in the same order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from workers.errors import WorkerCrashed
from workers.protocol import framing

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from workers.protocol.messages import LoadReport, WorkerReply, WorkerRequest

    BatchOutcome = tuple[tuple[WorkerReply | LoadReport, ...], float] | WorkerCrashed
    ReplyCallback = Callable[[BatchOutcome], None]

_EXITED_MESSAGE = "The worker's process ended."
_MAX_JOINED_BYTES = 256 * 1024  # to copy smaller frames once more is faster than to send them in parts


class Channel(asyncio.Protocol):
    """A connection to one worker that calls each batch's callback with its replies, in the order of sending.

    Bytes from the worker are never unpickled; bytes that are no valid frame abort the channel. `on_lost`
    is called once when no reply can come any more.
    """

    def __init__(self, *, on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._callbacks: deque[ReplyCallback] = deque()
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._needed_bytes = framing.HEADER.size
        self._header: tuple[int, int, float] | None = None

    @classmethod
    async def connect(cls, sock: socket.socket, *, on_lost: Callable[[], None]) -> Channel:
        """Return a channel over one end of a stream socket pair, which the channel then owns."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(on_lost=on_lost), sock=sock)
        return channel

    @property
    def connected(self) -> bool:
        """Whether a batch can be sent."""
        return self._transport is not None

    def send(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        """Send a batch; call `on_reply` once, later, with its replies and their seconds, or WorkerCrashed."""
        parts = framing.encode_requests(requests)
        self.expect_reply(on_reply)
        if self._transport is None:
            return
        if sum(map(len, parts)) > _MAX_JOINED_BYTES:
            self._transport.writelines(parts)
        else:
            self._transport.write(b"".join(parts))

    def expect_reply(self, on_reply: ReplyCallback) -> None:
        """Call `on_reply` with a frame that the worker sends unasked, or with WorkerCrashed."""
        if self._transport is None:
            self._loop.call_soon(on_reply, WorkerCrashed(_EXITED_MESSAGE))
        else:
            self._callbacks.append(on_reply)

    def close(self) -> None:
        """Send what is left, then close: the worker sees the end. Callbacks still due get WorkerCrashed."""
        self._on_lost = _noop
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once. Callbacks still due get WorkerCrashed."""
        if self._transport is not None:
            self._transport.abort()
        self._fail_pending()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits for replies; called by the loop."""
        del exc
        self._fail_pending()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the worker, and call the callbacks of the frames that are complete."""
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        while self._buffered_bytes >= self._needed_bytes and self._transport is not None:
            try:
                self._parse_next()
            except framing.ProtocolError:
                self.abort()

    def _parse_next(self) -> None:
        """Read a frame's header, or the rest of it."""
        if self._header is None:
            count, size, seconds = self._header = framing.HEADER.unpack(self._take_bytes(framing.HEADER.size))
            if (
                count > framing.MAX_ENTRIES
                or size > framing.MAX_BYTES
                or not framing.is_valid_duration(seconds)
            ):
                raise framing.ProtocolError("a header is not valid")
            self._needed_bytes = framing.entries_size(count, of_requests=False) + size
            return
        count, size, seconds = self._header
        rest = self._take_bytes(self._needed_bytes)
        self._header, self._needed_bytes = None, framing.HEADER.size
        entries = framing.entries_size(count, of_requests=False)
        replies = framing.decode_replies(rest[:entries], rest[entries:])
        if not self._callbacks:
            raise framing.ProtocolError("a reply came without a request")
        self._notify(self._callbacks.popleft(), (replies, seconds))

    def _take_bytes(self, size: int) -> bytes:
        """Remove the first `size` bytes from the buffer and return them."""
        buffered = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        rest = buffered[size:]
        self._chunks = [rest] if rest else []
        self._buffered_bytes = len(rest)
        return buffered if not rest else buffered[:size]

    def _fail_pending(self) -> None:
        if self._transport is None:
            return
        self._transport = None
        callbacks, self._callbacks = self._callbacks, deque()
        for on_reply in callbacks:
            self._notify(on_reply, WorkerCrashed(_EXITED_MESSAGE))
        self._on_lost()

    def _notify(self, on_reply: ReplyCallback, outcome: BatchOutcome) -> None:
        """Call one callback. If it raises, the other callbacks and the connection are not affected."""
        try:
            on_reply(outcome)
        except Exception as error:  # noqa: BLE001 - raised here it would end the connection
            self._loop.call_exception_handler(
                {"message": "A callback for a worker's replies failed.", "exception": error}
            )


def _noop() -> None:
    """Do nothing: the owner that closes the channel knows that it is lost."""
