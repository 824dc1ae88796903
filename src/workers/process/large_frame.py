"""A frame of replies that does not fit into a channel's buffer: received once there is memory for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from workers.process.frame_body import PIECE_BYTES, FrameBody
from workers.protocol import framing
from workers.protocol.messages import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.answer_memory import AnswerClaim, AnswerLimits
    from workers.protocol.messages import LoadReport, WorkerReply

_ARRIVAL_SECONDS: Final = 30.0  # for 256 MiB and more over a local socket, on a busy machine
_NO_MEMORY: Final = Failure("memory", "The gateway's memory for answers is used up; try again in a moment.")


class LargeFrame:
    """A frame whose bodies are kept, or read and forgotten if no memory was free in time.

    A frame of at most `PIECE_BYTES` needs no claim. Until `ready`, nothing may be read.
    """

    def __init__(self, entries: bytes, size: int, *, seconds: float, early: bytes) -> None:
        """`early` is what has come of the bodies, which are of `size` bytes."""
        self._entries = entries
        self._size = size
        self._early = early
        self._missing = size
        self._body: FrameBody | None = None
        self._claim: AnswerClaim | None = None
        self._give_up: asyncio.TimerHandle | None = None
        self._arrival: asyncio.TimerHandle | None = None
        self._on_ready: Callable[[], None] = _noop
        self._on_late: Callable[[], None] = _noop
        self.seconds = seconds
        self.ready = False

    def begin(self, limits: AnswerLimits, on_ready: Callable[[], None], on_late: Callable[[], None]) -> None:
        """Claim memory. `on_ready` is called if the frame is not ready at once.

        `on_late` is called if it has memory, which others then wait for, and does not come in time: the
        worker has computed it already.
        """
        self._on_ready, self._on_late = on_ready, on_late
        if self._size <= PIECE_BYTES:
            self._receive(keep=True)
            return
        self._claim = limits.memory.claim(self._size, self._on_granted)
        if self._claim.granted:
            self._receive(keep=True)
        else:
            loop = asyncio.get_running_loop()
            self._give_up = loop.call_later(limits.wait_seconds, self._on_timeout)

    def space(self, scratch: memoryview) -> memoryview:
        """Return memory for the next bytes; those that are forgotten go to `scratch`."""
        return scratch[: self._missing] if self._body is None else self._body.space()

    def advance(self, size: int) -> bool:
        """Record that `size` bytes have come; return whether the frame is complete."""
        self._missing -= size
        if self._body is not None:
            self._body.advance(size)
        return not self._missing

    def replies(self, count: int) -> tuple[WorkerReply | LoadReport, ...]:
        """Return the replies of the complete frame: `count` failures if it was not kept.

        Raises ProtocolError if a body is not valid.
        """
        self._cancel_arrival()
        body, claim = self._body, self._claim
        if body is None:
            return (_NO_MEMORY,) * count
        if claim is None:
            return framing.decode_replies(self._entries, body.bodies(release=_ignore, release_later=_ignore))
        self._claim, loop = None, asyncio.get_running_loop()

        def release_later(size: int) -> None:
            with suppress(RuntimeError):  # the loop is closed, and with it the gateway
                loop.call_soon_threadsafe(claim.release, size)

        bodies = body.bodies(release=claim.release, release_later=release_later)
        try:
            return framing.decode_replies(self._entries, bodies)
        finally:
            claim.release(self._size - bodies.large_bytes)

    def close(self) -> None:
        """Give up a frame that is not complete."""
        self._cancel_arrival()
        if self._give_up is not None:
            self._give_up.cancel()
        if self._claim is not None:
            self._claim.release(self._size)
            self._claim = None

    def _cancel_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _on_granted(self) -> None:
        if self._give_up is not None:
            self._give_up.cancel()
        self._receive(keep=True)
        self._on_ready()

    def _on_timeout(self) -> None:
        self.close()
        self._receive(keep=False)
        self._on_ready()

    def _receive(self, *, keep: bool) -> None:
        self.ready = True
        if self._claim is not None:
            self._arrival = asyncio.get_running_loop().call_later(_ARRIVAL_SECONDS, self._on_late)
        if keep:
            self._body = FrameBody(self._size)
            self._body.fill(memoryview(self._early))
        self._missing -= len(self._early)
        self._early = b""


def _noop() -> None:
    """Do nothing: the frame has not begun."""


def _ignore(_: int) -> None:
    """Do nothing: the bytes were not counted."""
