"""A worker at its post: what it has been given, and whether it can be given more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workers.protocol.messages import Chunk, CloseStream, NextChunk, OpenStream

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import LoadReport, WorkerReply
    from workers.scheduler.queue import PendingRequest


@dataclass(eq=False, slots=True)
class WorkerSlot:
    """A worker, the batches that it has been given (the first is the one it runs), and its clock.

    `at_work` tells that it died of, or with, something that it had been given.

    `stream` is the number of the stream that has the worker to itself, from the moment its opening
    is handed out until the worker says that it is over: a model's generator and its `predict` may
    share state, so nothing else runs between two chunks.
    """

    worker: ProcessWorker
    started_at: float
    batches: deque[list[PendingRequest]] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None
    crash_recorded: bool = False
    died_working: bool = False
    timed_out: bool = False
    stream_id: int | None = None

    @property
    def busy(self) -> bool:
        """Whether it runs a batch or holds a stream."""
        return self.stream_id is not None or bool(self.batches)

    def is_free(self, max_in_flight: int) -> bool:
        """Whether it may be given one more batch, where `depth` are allowed."""
        return self.stream_id is None and len(self.batches) < max_in_flight

    def assign(self, tickets: list[PendingRequest]) -> None:
        """Note what the worker is given."""
        if isinstance(job := tickets[0].request, OpenStream):
            self.stream_id = job.stream_id
        self.batches.append(tickets)

    def update_stream(
        self, tickets: list[PendingRequest], answers: Sequence[WorkerReply | LoadReport]
    ) -> None:
        """Note whether the stream is over with what the worker answered."""
        job = tickets[0].request
        if not isinstance(job, OpenStream | NextChunk | CloseStream) or job.stream_id != self.stream_id:
            return  # what is said of a stream that is over says nothing of the next one
        if not any(isinstance(answer, Chunk) and answer.body is not None for answer in answers):
            self.stream_id = None


def occupancy(post: WorkerSlot) -> int:
    """How much a worker has to do; one that holds a stream is the last to be asked."""
    return len(post.batches) if post.stream_id is None else 1_000
