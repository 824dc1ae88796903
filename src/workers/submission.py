"""A submitted request whose outcome is given to a function, without a task that waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class QueuedRequest(Protocol):
    """A request, and whether it is in a queue."""

    queued: bool


class Submission:
    """The outcome of a request: what a future is for a client that awaits it.

    `on_done` is called once, with the reply or the error, unless the request is cancelled before. It is
    called while the queue is at work: it must return at once, and submit or cancel nothing. `drop` takes the
    request out of the queue if it is in there, for a reason that is counted.
    """

    __slots__ = ("_done", "_drop", "_on_done", "_watched", "pending")

    pending: QueuedRequest | None

    def __init__(self, on_done: Callable[[Any], None], *, drop: Callable[[Any, str], None]) -> None:
        self._on_done = on_done
        self._drop = drop
        self._done = False
        self._watched: set[Any] = set()

    def watch(self, bucket: set[Any]) -> None:
        """Leave `bucket`, whose members time out together, when the outcome is there."""
        self._watched = bucket

    def done(self) -> bool:
        """Return whether the outcome is there, or wanted no more."""
        return self._done

    def set_result(self, reply: object) -> None:
        """Give the reply."""
        self._finish("")  # it is in no queue
        self._on_done(reply)

    def set_exception(self, error: Exception) -> None:
        """Give the error."""
        self._finish("timeout")
        self._on_done(error)

    def cancel(self) -> None:
        """Want no outcome any more: a request that is queued never runs."""
        if not self._done:
            self._finish("disconnect")

    def _finish(self, reason: str) -> None:
        self._done = True
        self._watched.discard(self)
        pending, self.pending = self.pending, None  # they refer to each other, and no collector runs soon
        if pending is not None and pending.queued:
            self._drop(pending, reason)
