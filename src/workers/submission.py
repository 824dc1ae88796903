"""A submitted request whose outcome is given to a function, without a task that waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.pending_request import PendingRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.protocol.messages import Job


class Submission(PendingRequest):
    """A queued job, and its outcome: what a future is for a client that awaits it.

    `on_done` is called once, with the id and the reply or the error, unless the request is cancelled before.
    It is called while the queue is at work: it must return at once, and submit or cancel nothing. `drop`
    takes the request out of the queue if it is in there, for a reason that is counted. `watched` is a set
    that it leaves when the outcome is there, whose members time out together.
    """

    __slots__ = ("_done", "_drop", "_id", "_on_done", "_watched")

    def __init__(
        self,
        job_id: int,
        job: Job,
        on_done: Callable[[int, Any], None],
        *,
        queued_at: float,
        watched: set[Any],
        drop: Callable[[PendingRequest, str], None],
    ) -> None:
        self.request = job
        self.size = len(job.body)
        self.queued = True
        self.queued_at = queued_at
        self.crash_suspect = False
        self.crashes = 0
        self._id = job_id
        self._on_done = on_done
        self._watched = watched
        self._drop = drop
        self._done = False

    @property
    def future(self) -> Any:  # type: ignore[override] # nothing replaces a request's future
        """Itself: it has what the scheduler uses of a future."""
        return self

    def done(self) -> bool:
        """Return whether the outcome is there, or wanted no more."""
        return self._done

    def set_result(self, reply: object) -> None:
        """Give the reply to a request that has left the queue."""
        self._done = True
        self._watched.discard(self)
        self._on_done(self._id, reply)

    def set_exception(self, error: Exception) -> None:
        """Give the error."""
        self._finish("timeout")
        self._on_done(self._id, error)

    def cancel(self) -> None:
        """Want no outcome any more: a request that is queued never runs."""
        if not self._done:
            self._finish("disconnect")

    def _finish(self, reason: str) -> None:
        self._done = True
        self._watched.discard(self)
        if self.queued:
            self._drop(self, reason)
