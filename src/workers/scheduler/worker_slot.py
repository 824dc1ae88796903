"""The slots of the workers of one model version: what each worker runs, and for how long."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from workers.protocol.messages import Chunk, Job, OpenStream
from workers.scheduler.results import reject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workers.pending_request import PendingRequest
    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import LoadReport, WorkerReply


@dataclass(eq=False, slots=True)
class WorkerSlot:
    """A worker, the batches that it was given, and a timer for the first of them, which it runs.

    `stream_id` is the stream that has the worker to itself, from its opening to its end: a model's
    generator and its `predict` may share state, so no prediction runs between two chunks.
    `busy_since` is when it was given the first of its batches, by `perf_counter`.
    `crash_recorded`: the worker crashed while it had a batch. `timed_out`: it was killed by the timer.
    """

    worker: ProcessWorker
    started_at: float
    batches: deque[list[PendingRequest]] = field(default_factory=deque)
    crash_recorded: bool = False
    timed_out: bool = False
    stream_id: int | None = None
    busy_since: float = 0.0
    _timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether the worker runs a batch or holds a stream."""
        return self.stream_id is not None or bool(self.batches)

    def assign(self, batch: list[PendingRequest]) -> None:
        """Record a batch that the worker is given."""
        if isinstance(request := batch[0].request, OpenStream):
            self.stream_id = request.stream_id
        self.batches.append(batch)

    def update_stream(self, batch: list[PendingRequest], replies: Sequence[WorkerReply | LoadReport]) -> None:
        """Free the worker of its stream if the replies to `batch` are the end of the stream."""
        request = batch[0].request
        if isinstance(request, Job) or request.stream_id != self.stream_id:
            return  # a late reply for an earlier stream must not end the present one
        if not any(isinstance(reply, Chunk) and reply.body is not None for reply in replies):
            self.stream_id = None

    def restart_timer(self, seconds: float, on_timeout: Callable[[WorkerSlot], None]) -> None:
        """Call `on_timeout` in `seconds` unless the worker replies; without a batch only stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, on_timeout, self) if self.batches else None


class WorkerSlots:
    """The slots of the workers that serve, and of crashed workers until their batches are settled."""

    def __init__(self, timeout_seconds: float, *, on_timeout: Callable[[WorkerSlot], None]) -> None:
        """`on_timeout` is called with a slot whose worker does not reply to a batch in time."""
        self._timeout_seconds = timeout_seconds
        self._on_timeout = on_timeout
        self.serving: list[WorkerSlot] = []
        self._crashed: set[WorkerSlot] = set()
        self._busy_seconds = 0.0

    def __len__(self) -> int:
        return len(self.serving)

    def __iter__(self) -> Iterator[WorkerSlot]:
        return iter(self.serving)

    @property
    def busy(self) -> bool:
        """Whether any worker runs a batch or holds a stream, or crashed with a batch that is not settled."""
        return bool(self._crashed) or any(slot.busy for slot in self.serving)

    @property
    def running(self) -> int:
        """The number of requests that the workers were given and that are not settled."""
        return sum(map(len, self._batches()))

    @property
    def busy_seconds(self) -> float:
        """How long the workers have run batches since the first one came, on average of all workers."""
        now = perf_counter()
        running = sum(now - slot.busy_since for slot in (*self.serving, *self._crashed) if slot.batches)
        return (self._busy_seconds + running) / max(1, len(self.serving))

    def add(self, slot: WorkerSlot) -> None:
        """Let a worker serve."""
        self.serving.append(slot)

    def remove(self, worker: ProcessWorker) -> WorkerSlot | None:
        """Remove and return the slot of a worker that ended; None if it has none."""
        slot = next((slot for slot in self.serving if slot.worker is worker), None)
        if slot is not None:
            self.serving.remove(slot)
            if slot.batches:
                self._crashed.add(slot)
        return slot

    def assign(self, slot: WorkerSlot, batch: list[PendingRequest]) -> None:
        """Record a batch that a worker is given."""
        slot.assign(batch)
        if len(slot.batches) == 1:
            slot.busy_since = perf_counter()
            slot.restart_timer(self._timeout_seconds, self._on_timeout)

    def settle(self, slot: WorkerSlot, batch: list[PendingRequest]) -> None:
        """Forget a batch; a crashed worker's slot too if the batch was its last."""
        slot.batches.remove(batch)
        slot.restart_timer(self._timeout_seconds, self._on_timeout)
        if not slot.batches:
            self._busy_seconds += perf_counter() - slot.busy_since
            self._crashed.discard(slot)

    def find_free(self, max_in_flight: int) -> WorkerSlot | None:
        """Return the slot with the fewest batches that may be given one more; None if there is none."""
        found, fewest = None, max_in_flight
        for slot in self.serving:
            if slot.stream_id is None and len(slot.batches) < fewest and slot.worker.connected:
                found, fewest = slot, len(slot.batches)
        return found

    def find_stream(self, stream_id: int) -> WorkerSlot | None:
        """Return the slot of the worker that holds a stream; None if the stream is over."""
        return next((slot for slot in self.serving if slot.stream_id == stream_id), None)

    def reject_all(self, error: Exception) -> None:
        """Answer every request that the workers were given with `error`."""
        for batch in self._batches():
            reject(batch, error)

    async def end_workers(self) -> None:
        """Kill the busy workers and close the others; return when all have ended."""
        ends = [slot.worker.kill() if slot.busy else slot.worker.close() for slot in self.serving]
        await asyncio.gather(*ends)
        self.serving.clear()

    def _batches(self) -> list[list[PendingRequest]]:
        return [batch for slot in (*self.serving, *self._crashed) for batch in slot.batches]
