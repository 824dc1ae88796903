"""A worker at its post: what it has been given, and whether it can be given more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workers.protocol.messages import Chunk, Next, Open, Stop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from workers.process.worker import Worker
    from workers.protocol.messages import Answer, Loaded
    from workers.scheduler.queue import Ticket


@dataclass(eq=False, slots=True)
class Post:
    """A worker, the batches that it has been given (the first is the one it runs), and its clock.

    `at_work` tells that it died of, or with, something that it had been given.

    `stream` is the number of the stream that has the worker to itself, from the moment its opening
    is handed out until the worker says that it is over: a model's generator and its `predict` may
    share state, so nothing else runs between two chunks.
    """

    worker: Worker
    started: float
    batches: deque[list[Ticket]] = field(default_factory=deque)
    clock: asyncio.TimerHandle | None = None
    blamed: bool = False
    at_work: bool = False
    hung: bool = False
    stream: int | None = None

    @property
    def busy(self) -> bool:
        """Whether it runs a batch or holds a stream."""
        return self.stream is not None or bool(self.batches)

    def is_free(self, depth: int) -> bool:
        """Whether it may be given one more batch, where `depth` are allowed."""
        return self.stream is None and len(self.batches) < depth

    def give(self, tickets: list[Ticket]) -> None:
        """Note what the worker is given."""
        if isinstance(job := tickets[0].job, Open):
            self.stream = job.stream
        self.batches.append(tickets)

    def hear(self, tickets: list[Ticket], answers: Sequence[Answer | Loaded]) -> None:
        """Note whether the stream is over with what the worker answered."""
        job = tickets[0].job
        if not isinstance(job, Open | Next | Stop) or job.stream != self.stream:
            return  # what is said of a stream that is over says nothing of the next one
        if not any(isinstance(answer, Chunk) and answer.body is not None for answer in answers):
            self.stream = None


def load(post: Post) -> int:
    """How much a worker has to do; one that holds a stream is the last to be asked."""
    return len(post.batches) if post.stream is None else 1_000
