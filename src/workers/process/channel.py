"""The gateway's end of the socket to one worker: batches out, answers in, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from workers.errors import WorkerDied
from workers.protocol import framing

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from workers.protocol.messages import Answer, Ask, Loaded

    Heard = tuple[tuple[Answer | Loaded, ...], float] | WorkerDied
    Hear = Callable[[Heard], None]

_DIED = "The worker's process ended."
_JOINED_BYTES = 256 * 1024  # what is smaller is copied once more sooner than it is told part by part


class DiedBefore(WorkerDied):
    """The process ended before it had read the batch, which therefore is not what it died of."""


class Channel(asyncio.Protocol):
    """Asks the worker, and tells each asker what was answered, in the order of asking.

    What a worker sends is read as bytes and never unpickled; where it is not of our form, the channel
    is cut. `cut` is called once when no answer can come any more.
    """

    def __init__(self, *, cut: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_cut = cut
        self._transport: asyncio.Transport | None = None
        self._hears: deque[Hear] = deque()
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = framing.HEAD.size
        self._head: tuple[int, int, float] | None = None

    @classmethod
    async def over(cls, end: socket.socket, *, cut: Callable[[], None]) -> Channel:
        """A channel over one end of a pair of stream sockets, which it owns from then on."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(cut=cut), sock=end)
        return channel

    @property
    def open(self) -> bool:
        """Whether the worker can be asked."""
        return self._transport is not None

    def ask(self, asks: Sequence[Ask], hear: Hear) -> None:
        """Send a batch; `hear` is called once with its answers and their seconds, or with WorkerDied.

        It is DiedBefore where the worker cannot have begun with the batch.
        """
        parts = framing.batch(asks)
        self.expect(hear)
        if self._transport is None:
            return
        if sum(map(len, parts)) > _JOINED_BYTES:
            self._transport.writelines(parts)
        else:
            self._transport.write(b"".join(parts))

    def expect(self, hear: Hear) -> None:
        """Have `hear` called with the next answers that nobody has asked for, or with WorkerDied."""
        if self._transport is None:
            self._loop.call_soon(hear, DiedBefore(_DIED))
        else:
            self._hears.append(hear)

    def close(self) -> None:
        """Let the worker find the end of its batches; who waits for an answer is told that it died."""
        self._on_cut = _nothing
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Wait for nothing any more: the worker is dead."""
        if self._transport is not None:
            self._transport.abort()
        self._cut()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """No answer can come any more; a reset or broken socket had bytes that the worker has not read."""
        self._cut(unread=isinstance(exc, ConnectionError))

    def data_received(self, data: bytes) -> None:
        """Some bytes of the worker's answers."""
        self._chunks.append(data)
        self._have += len(data)
        while self._have >= self._need and self._transport is not None:
            try:
                self._advance()
            except framing.WireBroken:
                self.abort()

    def _advance(self) -> None:
        """Read the head of a frame, or the rest of it."""
        if self._head is None:
            count, size, seconds = self._head = framing.HEAD.unpack(self._taken(framing.HEAD.size))
            if count > framing.MOST_ENTRIES or size > framing.MOST_BYTES or not framing.is_time(seconds):
                raise framing.WireBroken("a head is not of its form")
            self._need = framing.entries_size(count, of_asks=False) + size
            return
        count, size, seconds = self._head
        rest = self._taken(self._need)
        self._head, self._need = None, framing.HEAD.size
        entries = framing.entries_size(count, of_asks=False)
        answers = framing.answers(rest[:entries], rest[entries:])
        if not self._hears:
            raise framing.WireBroken("nobody asked")
        self._tell(self._hears.popleft(), (answers, seconds))

    def _taken(self, size: int) -> bytes:
        """The next bytes; what is behind them stays."""
        whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        rest = whole[size:]
        self._chunks = [rest] if rest else []
        self._have = len(rest)
        return whole if not rest else whole[:size]

    def _cut(self, *, unread: bool = False) -> None:
        if self._transport is None:
            return
        self._transport = None
        hears, self._hears = self._hears, deque()
        for number, hear in enumerate(hears, 1):
            before = unread and number == len(hears)  # at least the last bytes were not read
            self._tell(hear, DiedBefore(_DIED) if before else WorkerDied(_DIED))
        self._on_cut()

    def _tell(self, hear: Hear, heard: Heard) -> None:
        """Let one asker hear; whatever it raises, the others hear too, and the worker lives on."""
        try:
            hear(heard)
        except Exception as error:  # noqa: BLE001 - raised here it would end the connection
            self._loop.call_exception_handler(
                {"message": "Hearing a worker's answers failed.", "exception": error}
            )


def _nothing() -> None:
    """It is known already."""
