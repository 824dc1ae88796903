"""The requests of a link that have no answer yet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from workers.errors import NodeLost

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterable, Sequence


class PendingAnswers:
    """A table of futures by the id of their job. Ids grow, and an id that is not in it is ignored.

    Deadlines cost a request nothing: `expire`, called again and again, notes which id was the last one then.
    """

    def __init__(self, seconds: float) -> None:
        """A job expires after `seconds`, late by no more than the time between two calls of `expire`."""
        self._seconds = seconds
        self._futures: dict[int, Future[Any]] = {}
        self._marks: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._futures)

    @property
    def futures(self) -> Iterable[Future[Any]]:
        """The futures of the jobs in it."""
        return self._futures.values()

    def add(self, job_id: int, future: Future[Any]) -> None:
        """Add a job, whose id is greater than all before."""
        self._futures[job_id] = future

    def discard(self, job_id: int) -> None:
        """Forget a job: its answer will be dropped."""
        self._futures.pop(job_id, None)

    def answer(self, ids: Sequence[int], replies: Sequence[object]) -> None:
        """Give each job its reply."""
        take = self._futures.pop
        for job_id, reply in zip(ids, replies, strict=True):
            future = take(job_id, None)
            if future is not None and not future.done():
                future.set_result(reply)

    def fail(self, job_id: int, error: Exception) -> None:
        """End a job with an error."""
        future = self._futures.pop(job_id, None)
        if future is not None and not future.done():
            future.set_exception(error)

    def fail_all(self, message: str) -> None:
        """End all jobs with NodeLost; each gets an exception of its own, which is raised where it waits."""
        futures, self._futures = self._futures, {}
        for future in futures.values():
            if not future.done():
                future.set_exception(NodeLost(message))

    def expire(self, now: float) -> list[int]:
        """Return the ids of the jobs that came `seconds` ago or earlier. The caller ends each by `fail`."""
        last = next(reversed(self._futures), 0)
        if last and (not self._marks or self._marks[-1][1] != last):
            self._marks.append((now, last))
        bound = 0
        while self._marks and self._marks[0][0] + self._seconds <= now:
            bound = self._marks.popleft()[1]
        expired = []
        for job_id in self._futures:
            if job_id > bound:
                break
            expired.append(job_id)
        return expired
