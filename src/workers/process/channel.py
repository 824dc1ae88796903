"""Send batches to one worker over its socket, and receive the replies in the same order."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from typing import TYPE_CHECKING, cast

from workers.answer_memory import AnswerLimits
from workers.errors import WorkerCrashed, WorkerProtocolError
from workers.process.large_frame import LargeFrame
from workers.protocol import framing
from workers.protocol.bounds import MAX_OTHER_BYTES, ProtocolError, check_size
from workers.protocol.framing import HEADER
from workers.protocol.reply_entries import REPLY_ENTRY, check_entries

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from workers.protocol.messages import LoadReport, WorkerReply, WorkerRequest

    BatchOutcome = tuple[tuple[WorkerReply | LoadReport, ...], float] | WorkerCrashed
    ReplyCallback = Callable[[BatchOutcome], None]
    _Pending = tuple[ReplyCallback, int, int]
    """A batch's callback, the number of its requests, and the most bytes of their answers together."""

_EXITED_MESSAGE = "The worker's process ended."
_MAX_JOINED_BYTES = 256 * 1024  # to copy smaller frames once more is faster than to send them in parts
_BUFFER_BYTES = 64 * 1024  # a frame that fits takes no memory of its own


class Channel(asyncio.BufferedProtocol):
    """A connection to one worker that calls each batch's callback with its replies, in the order of sending.

    Bytes from the worker are never unpickled. A frame is judged by its head: what a worker may not send
    aborts the channel before it is kept, and `violation` tells what it was. `on_lost` is called once when
    no reply can come any more. Reading pauses while a large frame waits for memory.
    """

    def __init__(self, *, on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._pending: deque[_Pending] = deque()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0
        self._judged = False
        self._large: LargeFrame | None = None
        self.answers = AnswerLimits()
        self.violation = ""

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

    @property
    def paused(self) -> bool:
        """Whether the worker replies, but the gateway does not read because it has no memory for that."""
        return self._large is not None and not self._large.ready

    def send(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        """Send a batch; call `on_reply` once, later, with its replies and their seconds, or WorkerCrashed."""
        max_answer_bytes = self.answers.max_bytes()
        parts = framing.encode_requests(requests, max_answer_bytes)
        self._expect(on_reply, len(requests), max_answer_bytes)
        if self._transport is None:
            return
        if sum(map(len, parts)) > _MAX_JOINED_BYTES:
            self._transport.writelines(parts)
        else:
            self._transport.write(b"".join(parts))

    def expect_reply(self, on_reply: ReplyCallback) -> None:
        """Call `on_reply` with a frame of one reply that the worker sends unasked, or with WorkerCrashed."""
        self._expect(on_reply, 1, 0)

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

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return memory for the next bytes from the worker; called by the loop."""
        del sizehint
        if self._large is not None:
            return self._large.space(self._buffer)
        return self._buffer[self._filled :] if self._filled else self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that have come, and call the callbacks of the frames that are complete."""
        try:
            if self._large is None:
                self._filled += nbytes
                self._read_frames()
            elif self._large.advance(nbytes) and self._pending:
                large, self._large = self._large, None
                self._resolve(large.replies(self._pending[0][1]), large.seconds)
        except ProtocolError as error:
            self._end_worker(str(error))

    def _expect(self, on_reply: ReplyCallback, count: int, max_answer_bytes: int) -> None:
        if self._transport is None:
            self._loop.call_soon(on_reply, WorkerCrashed(_EXITED_MESSAGE))
        else:
            self._pending.append((on_reply, count, max_answer_bytes))

    def _read_frames(self) -> None:
        """Take every complete frame out of the buffer; what is left is at its start then."""
        start = 0
        while self._filled - start >= HEADER.size and self._transport is not None:
            count, size, seconds = HEADER.unpack_from(self._buffer, start)
            if not self._pending:
                raise ProtocolError("a reply without a request")
            _, most, max_answer_bytes = self._pending[0]
            if count > most or size > max_answer_bytes or not 0.0 <= seconds < inf:
                _check_header(count, size, seconds, most=most, max_answer_bytes=max_answer_bytes)
            first = start + HEADER.size
            bodies = first + count * REPLY_ENTRY.size
            end = bodies + size
            if end > self._filled:
                self._drop(start)
                self._judge(bodies - start, size, seconds=seconds, max_answer_bytes=max_answer_bytes)
                return
            entries = bytes(self._buffer[first:bodies])
            if size > max_answer_bytes:
                check_entries(entries, size=size, max_answer_bytes=max_answer_bytes)
            replies = framing.decode_replies(entries, bytes(self._buffer[bodies:end]))
            start = end
            self._resolve(replies, seconds)
        self._drop(start)

    def _drop(self, size: int) -> None:
        """Remove the first bytes from the buffer."""
        left = self._filled - size
        if left and size:
            self._buffer[:left] = self._buffer[size : self._filled]
        self._filled = left

    def _judge(self, head: int, size: int, *, seconds: float, max_answer_bytes: int) -> None:
        """Judge the incomplete frame at the start of the buffer by its entries, and begin it if it is large.

        `head` is the size of its header and entries. Do nothing while these are incomplete too, but make the
        buffer large enough for them.
        """
        if self._filled < head:
            if head > len(self._buffer):
                larger = memoryview(bytearray(head))
                larger[: self._filled] = self._buffer[: self._filled]
                self._buffer = larger
            return
        if not self._judged:
            entries = bytes(self._buffer[HEADER.size : head])
            check_entries(entries, size=size, max_answer_bytes=max_answer_bytes)
            self._judged = True
        if head + size > len(self._buffer) and self._transport is not None:
            entries, early = (
                bytes(self._buffer[HEADER.size : head]),
                self._buffer[head : self._filled],
            )
            self._large = LargeFrame(entries, size, seconds=seconds, early=bytes(early))
            self._filled = 0
            self._large.begin(self.answers, self._resume, self._end_late)
            if not self._large.ready:
                self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _end_late(self) -> None:
        self._end_worker("a part of an answer that it had announced, and no more")

    def _resolve(self, replies: tuple[WorkerReply | LoadReport, ...], seconds: float) -> None:
        """Call the callback of the first batch."""
        self._judged = False
        self._notify(self._pending.popleft()[0], (replies, seconds))

    def _end_worker(self, violation: str) -> None:
        """Abort because of what the worker sent. The batch that it was for gets the reason."""
        self.violation = violation
        if self._transport is not None:
            self._transport.abort()
        self._fail_pending(WorkerProtocolError(f"The model's worker sent {violation}, and was ended."))

    def _fail_pending(self, first_error: WorkerCrashed | None = None) -> None:
        if self._transport is None:
            return
        self._transport = None
        if self._large is not None:
            self._large.close()
            self._large = None
        self._filled = 0
        pending, self._pending = self._pending, deque()
        for on_reply, _, _ in pending:
            self._notify(on_reply, first_error or WorkerCrashed(_EXITED_MESSAGE))
            first_error = None
        self._on_lost()

    def _notify(self, on_reply: ReplyCallback, outcome: BatchOutcome) -> None:
        """Call one callback. If it raises, the other callbacks and the connection are not affected."""
        try:
            on_reply(outcome)
        except Exception as error:  # noqa: BLE001 - raised here it would end the connection
            self._loop.call_exception_handler(
                {"message": "A callback for a worker's replies failed.", "exception": error}
            )


def _check_header(count: int, size: int, seconds: float, *, most: int, max_answer_bytes: int) -> None:
    """Raise ProtocolError if a batch of `most` requests may not have such a frame of replies."""
    if count > most:
        raise ProtocolError(f"{count} replies, where {most} are allowed")
    if not framing.is_valid_duration(seconds):
        raise ProtocolError("a duration that is not valid")
    check_size("bodies", size, max_answer_bytes + MAX_OTHER_BYTES)


def _noop() -> None:
    """Do nothing: the owner that closes the channel knows that it is lost."""
