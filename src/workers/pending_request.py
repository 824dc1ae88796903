"""One request for a model version, from its arrival to its reply."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from workers.protocol.messages import WorkerRequest


class PendingRequest:
    """A request, and the future that its client waits on: of a Reply or, for a stream, of a Chunk.

    A Submission is its own future, for a client that waits on none.

    `queued` tells whether it is in the queue, and `queued_at` when it came (`perf_counter`).
    `crash_suspect`: a worker crashed while it ran a batch with this request, or could not send its answer
    beside the others. `crashes` counts the workers that crashed while they ran this request alone.
    """

    __slots__ = ("crash_suspect", "crashes", "future", "queued", "queued_at", "request", "size")

    def __init__(
        self,
        request: WorkerRequest,
        future: asyncio.Future[Any],
        *,
        size: int = 0,
        queued: bool = False,
    ) -> None:
        self.request = request
        self.future = future
        self.size = size
        self.queued = queued
        self.queued_at = perf_counter()
        self.crash_suspect = False
        self.crashes = 0
