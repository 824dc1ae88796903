"""The gateway's end of the socket to one worker: batches out, answers in, in order."""

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
_MAX_JOINED_BYTES = 256 * 1024  # what is smaller is copied once more sooner than it is told part by part


class DiedBefore(WorkerCrashed):
    """The process ended before it had read the batch, which therefore is not what it died of."""


class Channel(asyncio.Protocol):
    """Asks the worker, and tells each asker what was answered, in the order of asking.

    What a worker sends is read as bytes and never unpickled; where it is not of our form, the channel
    is cut. `cut` is called once when no answer can come any more.
    """

    def __init__(self, *, on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._callbacks: deque[ReplyCallback] = deque()
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._needed_bytes = framing.HEADER.size
        self._head: tuple[int, int, float] | None = None

    @classmethod
    async def connect(cls, sock: socket.socket, *, on_lost: Callable[[], None]) -> Channel:
        """A channel over one end of a pair of stream sockets, which it owns from then on."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(on_lost=on_lost), sock=sock)
        return channel

    @property
    def connected(self) -> bool:
        """Whether the worker can be asked."""
        return self._transport is not None

    def send(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        """Send a batch; `hear` is called once with its answers and their seconds, or with WorkerDied.

        It is DiedBefore where the worker cannot have begun with the batch.
        """
        parts = framing.encode_requests(requests)
        self.expect_reply(on_reply)
        if self._transport is None:
            return
        if sum(map(len, parts)) > _MAX_JOINED_BYTES:
            self._transport.writelines(parts)
        else:
            self._transport.write(b"".join(parts))

    def expect_reply(self, on_reply: ReplyCallback) -> None:
        """Have `hear` called with the next answers that nobody has asked for, or with WorkerDied."""
        if self._transport is None:
            self._loop.call_soon(on_reply, DiedBefore(_EXITED_MESSAGE))
        else:
            self._callbacks.append(on_reply)

    def close(self) -> None:
        """Let the worker find the end of its batches; who waits for an answer is told that it died."""
        self._on_lost = _noop
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Wait for nothing any more: the worker is dead."""
        if self._transport is not None:
            self._transport.abort()
        self._fail_pending()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """No answer can come any more; a reset or broken socket had bytes that the worker has not read."""
        self._fail_pending(unread=isinstance(exc, ConnectionError))

    def data_received(self, data: bytes) -> None:
        """Some bytes of the worker's answers."""
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        while self._buffered_bytes >= self._needed_bytes and self._transport is not None:
            try:
                self._parse_next()
            except framing.ProtocolError:
                self.abort()

    def _parse_next(self) -> None:
        """Read the head of a frame, or the rest of it."""
        if self._head is None:
            count, size, seconds = self._head = framing.HEADER.unpack(self._take_bytes(framing.HEADER.size))
            if (
                count > framing.MAX_ENTRIES
                or size > framing.MAX_BYTES
                or not framing.is_valid_duration(seconds)
            ):
                raise framing.ProtocolError("a head is not of its form")
            self._needed_bytes = framing.entries_size(count, of_requests=False) + size
            return
        count, size, seconds = self._head
        rest = self._take_bytes(self._needed_bytes)
        self._head, self._needed_bytes = None, framing.HEADER.size
        entries = framing.entries_size(count, of_requests=False)
        answers = framing.decode_replies(rest[:entries], rest[entries:])
        if not self._callbacks:
            raise framing.ProtocolError("nobody asked")
        self._notify(self._callbacks.popleft(), (answers, seconds))

    def _take_bytes(self, size: int) -> bytes:
        """The next bytes; what is behind them stays."""
        whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        rest = whole[size:]
        self._chunks = [rest] if rest else []
        self._buffered_bytes = len(rest)
        return whole if not rest else whole[:size]

    def _fail_pending(self, *, unread: bool = False) -> None:
        if self._transport is None:
            return
        self._transport = None
        hears, self._callbacks = self._callbacks, deque()
        for number, hear in enumerate(hears, 1):
            before = unread and number == len(hears)  # at least the last bytes were not read
            self._notify(hear, DiedBefore(_EXITED_MESSAGE) if before else WorkerCrashed(_EXITED_MESSAGE))
        self._on_lost()

    def _notify(self, on_reply: ReplyCallback, outcome: BatchOutcome) -> None:
        """Let one asker hear; whatever it raises, the others hear too, and the worker lives on."""
        try:
            on_reply(outcome)
        except Exception as error:  # noqa: BLE001 - raised here it would end the connection
            self._loop.call_exception_handler(
                {"message": "Hearing a worker's answers failed.", "exception": error}
            )


def _noop() -> None:
    """It is known already."""
