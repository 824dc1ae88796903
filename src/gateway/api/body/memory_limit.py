"""A limit for the memory of all request bodies and large answers that the gateway holds at once."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiohttp import web

    from workers.metrics import Counters

UNCOUNTED_BYTES: Final = 16 * 1024
"""A body of at most this many bytes is not counted: the queue limit bounds all of those together."""

BODIES_REJECTED: Final = CounterSpec(
    "request_bodies_rejected",
    "Requests rejected for their body: timeout (it took too long to arrive), or memory (the limit for all"
    " bodies is reached).",
    ("reason",),
)


class BodyMemoryExceeded(Exception):
    """The memory for request bodies is used up."""


class AnswerClaim:
    """The bytes of one large answer, held or waiting for room."""

    def __init__(self, owner: BodyMemoryLimit, size: int, on_granted: Callable[[], None]) -> None:
        self._owner = owner
        self.size = size
        self.on_granted = on_granted
        self.granted = False

    def release(self, size: int) -> None:
        """Give back `size` of the bytes; a claim that waits is withdrawn."""
        self._owner.release_answer(self, size)


class BodyMemoryLimit:
    """A limiter that counts the bytes of request bodies, and of answers until their clients have them.

    A request has one body, so bodies are counted by connection. A body that does not fit is rejected. An
    answer that does not fit waits for its turn; a single one always fits, or it would wait for ever. Half
    of the limit is for bodies alone, so that clients that read slowly do not keep others from sending.
    """

    def __init__(self, limit: int, *, counters: Counters) -> None:
        self._limit = limit
        self._counters = counters
        self._bytes_by_connection: dict[web.RequestHandler, int] = {}
        self._waiting: deque[AnswerClaim] = deque()
        self.answering: set[web.RequestHandler] = set()
        self.reserved_bytes = 0
        self.answer_bytes = 0

    @property
    def answers_wait(self) -> bool:
        """Whether an answer waits for room."""
        return bool(self._waiting)

    def blocking(self) -> Collection[web.RequestHandler]:
        """Return the connections in `answering`, to which large answers are sent, if another answer waits."""
        return self.answering if self._waiting else ()

    def check(self, size: int) -> None:
        """Raise BodyMemoryExceeded if a body of `size` more bytes does not fit now."""
        answer_bytes = min(self.answer_bytes, self._limit // 2)
        if self.reserved_bytes + answer_bytes + size > self._limit:
            self._counters.increment(BODIES_REJECTED, "memory")
            raise BodyMemoryExceeded

    def reserve(self, connection: web.RequestHandler, size: int) -> None:
        """Set the bytes of the connection's request to `size`, or raise BodyMemoryExceeded."""
        more = size - self._bytes_by_connection.get(connection, 0)
        if more > 0:
            self.check(more)
        self._bytes_by_connection[connection] = size
        self.reserved_bytes += more

    def release(self, connection: web.RequestHandler) -> None:
        """Release the bytes of the connection's request, because its response is ready."""
        self.reserved_bytes -= self._bytes_by_connection.pop(connection, 0)
        self._grant_waiting()

    def claim(self, size: int, on_granted: Callable[[], None]) -> AnswerClaim:
        """Return a claim for an answer, granted now, or later in the order of claims.

        `on_granted` is called if that is later.
        """
        claim = AnswerClaim(self, size, on_granted)
        if not self._waiting and self._fits(size):
            self._grant(claim)
        else:
            self._waiting.append(claim)
        return claim

    def release_answer(self, claim: AnswerClaim, size: int) -> None:
        """Take back `size` bytes of a claim."""
        if claim.granted:
            claim.size -= size
            self.answer_bytes -= size
        elif claim in self._waiting:
            self._waiting.remove(claim)
        self._grant_waiting()

    def _fits(self, size: int) -> bool:
        return not self.answer_bytes or self.reserved_bytes + self.answer_bytes + size <= self._limit

    def _grant(self, claim: AnswerClaim) -> None:
        claim.granted = True
        self.answer_bytes += claim.size

    def _grant_waiting(self) -> None:
        while self._waiting and self._fits(self._waiting[0].size):
            claim = self._waiting.popleft()
            self._grant(claim)
            claim.on_granted()
