"""The requests that run again because their worker crashed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from workers.errors import WorkerProtocolError
from workers.metrics import PREDICTION_RETRIES
from workers.protocol.messages import CloseStream, NextChunk
from workers.scheduler.results import reject

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.errors import WorkerCrashed
    from workers.metrics import Counters
    from workers.pending_request import PendingRequest
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_slot import WorkerSlot

_MAX_CRASHES: Final = 2
"""A request is rejected after as many workers crashed while they ran it alone.

The crash of a batch counts for none of its requests, since any of them may be guilty; each runs alone the
next time. One crash alone may be a coincidence: an operator or the kernel may kill the worker just then.
"""

_RETRY_DELAY_SECONDS: Final = 0.05  # until it is known which other workers crashed at the same time


class RetryQueue:
    """A queue of crashed workers' batches, each of which waits for a short delay before it runs again."""

    def __init__(
        self, key: ModelKey, *, counters: Counters, on_due: Callable[[list[PendingRequest]], None]
    ) -> None:
        """`on_due` is called with each batch after its delay."""
        self._labels = key.name, key.version
        self._counters = counters
        self._on_due = on_due
        self._loop = asyncio.get_running_loop()
        self._batches: deque[tuple[asyncio.TimerHandle, list[PendingRequest]]] = deque()
        self._fatal_error: Exception | None = None

    @property
    def waiting(self) -> int:
        """The number of requests that wait for their delay."""
        return sum(len(batch) for _, batch in self._batches) if self._batches else 0

    def add(self, slot: WorkerSlot, batch: list[PendingRequest], error: WorkerCrashed) -> None:
        """Record the crash of `slot`'s worker, and run the batch again.

        Reject with `error` the requests that crashed too many workers, and those for an open stream:
        the stream ended with its worker. Reject all of them if what the worker sent broke the protocol:
        they would end the next worker too.
        """
        if isinstance(error, WorkerProtocolError):
            slot.crash_recorded = True
            reject(batch, error)
            return
        if not slot.crash_recorded:  # the worker ran this batch, and had not begun with its others
            slot.crash_recorded = True
            for pending in batch:
                pending.crash_suspect = True
                pending.crashes += len(batch) == 1
        reject([pending for pending in batch if not _is_retryable(pending)], error)
        if self._fatal_error is not None:
            reject(batch, self._fatal_error)
            return
        retried = sum(not pending.future.done() for pending in batch)
        self._counters.increment(PREDICTION_RETRIES, *self._labels, times=retried)
        timer = self._loop.call_later(_RETRY_DELAY_SECONDS, self._pop_due)
        self._batches.append((timer, batch))

    def reject_all(self, error: Exception) -> None:
        """Reject with `error` every batch that waits, or is added later."""
        self._fatal_error = error
        for timer, batch in self._batches:
            timer.cancel()
            reject(batch, error)
        self._batches.clear()

    def _pop_due(self) -> None:
        _, batch = self._batches.popleft()  # all wait equally long
        self._on_due(batch)


def _is_retryable(pending: PendingRequest) -> bool:
    return pending.crashes < _MAX_CRASHES and not isinstance(pending.request, NextChunk | CloseStream)
