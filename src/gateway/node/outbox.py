"""Gathers the replies of one turn of the loop into one message, and holds them back from a slow reader."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.engines.wire.messages import MAX_BATCH, encode_control, encode_error, encode_replies
from gateway.engines.wire.protocol import LARGE_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.engines.transports.protocol import Transport
    from gateway.engines.wire.control import NodeControl
    from workers.protocol.messages import Chunk, Reply

    Part = bytes | memoryview

_LARGE_BODY_BYTES: Final = LARGE_MESSAGE_BYTES - 1024
"""A larger body is a message of its own, on the lane for such messages."""
_OVERHEAD_BYTES: Final = 64
HIGH_WATER_BYTES: Final = 16 * 2**20
"""Beyond that much that the network has not taken, replies wait here, where large ones count as held."""
_POLL_SECONDS: Final = 0.01
_STALLED_SECONDS: Final = 60.0


class Outbox:
    """An outbox of one link. `on_stalled` is called if the gateway reads nothing of it for a minute."""

    def __init__(self, transport: Transport, *, on_stalled: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._on_stalled = on_stalled
        self._ids: list[int] = []
        self._replies: list[Reply | Chunk] = []
        self._size = 0
        self._large: deque[tuple[int, Reply | Chunk]] = deque()
        self._scheduled: asyncio.Handle | None = None
        self._blocked_since = 0.0
        self._unsent_then = 0
        self._closed = False

    def reply(self, job_id: int, reply: Reply | Chunk) -> None:
        """Send a reply, with others of this turn."""
        if self._closed:
            if reply.large is not None:
                reply.large.close()
            return
        size = _OVERHEAD_BYTES + (len(reply.body or b"") if reply.large is None else len(reply.large))
        if size > _LARGE_BODY_BYTES:
            self._large.append((job_id, reply))
        else:
            if self._size + size > _LARGE_BODY_BYTES or len(self._ids) == MAX_BATCH:
                self._send_small()
            self._ids.append(job_id)
            self._replies.append(reply)
            self._size += size
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self._flush)

    def fail(self, job_id: int, error: BaseException) -> None:
        """Send an error."""
        self.send(encode_error(job_id, error))

    def control(self, message: NodeControl) -> None:
        """Send a control message."""
        self.send(encode_control(message))

    def send(self, message: Sequence[Part]) -> None:
        """Send another message, after the small replies that were added before."""
        if not self._closed:
            if self._ids:
                self._send_small()
            self._transport.send(message)

    @property
    def blocked(self) -> bool:
        """Whether the network has more than enough to take."""
        return self._transport.unsent_bytes > HIGH_WATER_BYTES

    def close(self) -> None:
        """Drop what is unsent, and send nothing more."""
        self._closed = True
        if self._scheduled is not None:
            self._scheduled.cancel()
        for _, reply in self._large:
            if reply.large is not None:
                reply.large.close()
        self._large.clear()
        self._ids, self._replies = [], []

    def _flush(self) -> None:
        self._scheduled = None
        if self._ids and not self.blocked:
            self._send_small()
        while self._large and not self.blocked:
            job_id, reply = self._large.popleft()
            self._transport.send(encode_replies([job_id], [reply]))
        if self._ids or self._large:
            self._wait()
        else:
            self._blocked_since = 0.0

    def _wait(self) -> None:
        """Look again soon: no event tells when the network has taken more."""
        now, unsent = self._loop.time(), self._transport.unsent_bytes
        if not self._blocked_since or unsent < self._unsent_then:
            self._blocked_since, self._unsent_then = now, unsent
        elif now - self._blocked_since > _STALLED_SECONDS:
            self._on_stalled()
            return
        self._scheduled = self._loop.call_later(_POLL_SECONDS, self._flush)

    def _send_small(self) -> None:
        ids, replies = self._ids, self._replies
        self._ids, self._replies, self._size = [], [], 0
        self._transport.send(encode_replies(ids, replies))
