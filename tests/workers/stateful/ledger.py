"""What clients requested of scripted workers, and which outcomes are right for each request."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workers.errors import ModelError, PredictionTimeout, WorkerCrashed, WorkerProtocolError
from workers.protocol.messages import Chunk, CloseStream, Failure, Job, NextChunk, OpenStream, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.workers.stateful.scripted import ScriptedProcess
    from workers.prediction_stream import PredictionStream
    from workers.protocol.messages import WorkerReply, WorkerRequest

WRONG_KIND = "The worker's reply does not fit the request."


@dataclass(eq=False)
class ClientRequest:
    """A client's request: its name, its task, when it began, and the errors that it may end with.

    `submitted`: the loop ran since, so that the group or pool has it. `checked`: its outcome was checked.
    """

    name: bytes
    task: asyncio.Task[Any]
    since: float
    allowed: set[type[BaseException]] = field(default_factory=set)
    submitted: bool = False
    checked: bool = False


@dataclass(eq=False)
class OpenedStream:
    """A stream that a client has, the number of chunks it read, and its request for the next chunk."""

    name: bytes
    stream: PredictionStream
    chunks_read: int = 0
    request: ClientRequest | None = None


class Ledger:
    """A record of what each process was given and replied, by the name in the job's body."""

    def __init__(self) -> None:
        self.replies: defaultdict[bytes, list[Any]] = defaultdict(list)
        self.crashes: Counter[bytes] = Counter()
        self.crashes_alone: Counter[bytes] = Counter()
        self.possible_crashes: Counter[bytes] = Counter()
        self.crash_reported: set[bytes] = set()
        self.accused: set[bytes] = set()
        self.stream_names: dict[int, bytes] = {}
        self.chunk_counts: dict[int, int] = {}

    def name(self, request: WorkerRequest) -> bytes:
        """Return the name of the client's request that a worker's request belongs to."""
        if isinstance(request, Job):
            return request.body
        if isinstance(request, OpenStream):
            assert isinstance(request.job, Job)
            self.stream_names[request.stream_id] = request.job.body
        return self.stream_names[request.stream_id]

    def is_for_model(self, name: bytes, process: ScriptedProcess) -> bool:
        """Tell whether a process has the model of a request; with several models its name begins with it."""
        model = process.source.key.name
        return model == "scripted" or name.startswith(model.encode())

    def take_batch(self, process: ScriptedProcess) -> tuple[WorkerRequest, ...] | None:
        """Return the batch that a process runs, after checking a new one; None if it has none."""
        is_new = process.running is None
        batch = process.take_batch()
        if batch is None or not is_new:
            return batch
        for request in batch:
            name = self.name(request)
            assert self.is_for_model(name, process), "another model's job"
            if isinstance(request, Job | OpenStream):
                assert process.stream_id is None, "a job came between two chunks"
                assert self.crashes_alone[name] < 2, "it crashed two workers alone, and runs in a third"
                assert not self.crashes[name] or len(batch) == 1, "it crashed a worker, and shares a batch"
            if isinstance(request, OpenStream):
                assert len(batch) == 1
                process.stream_id, self.chunk_counts[request.stream_id] = request.stream_id, 0
        return batch

    def create_replies(
        self, process: ScriptedProcess, batch: Sequence[WorkerRequest], outcome: str
    ) -> list[WorkerReply]:
        """Return a reply to each request: with `outcome` to the first, as it should be to the others."""
        replies = [
            self._create_reply(process, request, outcome if index == 0 else "good")
            for index, request in enumerate(batch)
        ]
        if outcome == "too few":
            replies.pop()
            process.stream_id = None
            message = f"The worker answered {len(replies)} of {len(batch)} requests."
            for request in batch:
                self.replies[self.name(request)].append(message)
        return replies

    def _create_reply(self, process: ScriptedProcess, request: WorkerRequest, outcome: str) -> WorkerReply:
        name = self.name(request)
        if isinstance(request, Job):
            if outcome == "failure":
                return self._create_failure(name)
            self.replies[name].append(body := b"answer to " + name)
            if outcome == "wrong kind":
                self.replies[name].append(WRONG_KIND)
                return Chunk(body)
            return Reply(body, 0.01)
        return self._create_chunk(process, request, outcome)

    def _create_chunk(
        self, process: ScriptedProcess, request: OpenStream | NextChunk | CloseStream, outcome: str
    ) -> WorkerReply:
        name = self.name(request)
        is_current = process.stream_id == request.stream_id
        if isinstance(request, CloseStream) or not is_current or outcome == "end":
            process.stream_id = None if is_current else process.stream_id
            self.replies[name].append(None)
            return Chunk(None)
        if outcome in {"failure", "wrong kind"}:
            process.stream_id = None
            self.replies[name].append(WRONG_KIND)
            return self._create_failure(name) if outcome == "failure" else Reply(name, 0.01)
        index = self.chunk_counts[request.stream_id]
        self.chunk_counts[request.stream_id] += 1
        self.replies[name].append(body := b"%s.%d" % (name, index))
        return Chunk(body)

    def _create_failure(self, name: bytes) -> Failure:
        self.replies[name].append(text := f"It refuses {name.decode()}.")
        return Failure("model", text)

    def record_exit(self, process: ScriptedProcess, unheard: Sequence[WorkerRequest]) -> None:
        """Record the crash of what a process ran.

        `unheard` was answered so shortly before that the gateway may not have the replies.
        """
        running = process.running or ()
        for request in running:
            self.crashes[self.name(request)] += 1
            self.crashes_alone[self.name(request)] += len(running) == 1
        for name in {self.name(request) for request in (*unheard, *running)}:
            self.possible_crashes[name] += 1

    def record_unread(self, requests: Sequence[WorkerRequest]) -> None:
        """Record requests that a process ended without reading: they seem to have crashed it too."""
        for request in requests:
            self.possible_crashes[self.name(request)] += 1

    def record_accused(self, requests: Sequence[WorkerRequest]) -> None:
        """Record requests whose process sent what is no frame, so that any of them may fail for that."""
        self.accused.update(self.name(request) for request in requests)

    def check_crash_reports(self) -> None:
        """Check that each request that failed by a crash ran in two crashed processes, or seemed to."""
        innocent = [name for name in self.crash_reported if self.possible_crashes[name] < 2]
        assert not innocent, "failed by crashes that it has no part in"

    def check(self, request: ClientRequest, now: float, *, request_seconds: float) -> Any:
        """Check that a client got the reply to its own request, or an error that has a reason; return it."""
        request.checked = True
        if request.task.cancelled():
            assert asyncio.CancelledError in request.allowed, "cancelled, but not by its client"
            return None
        error = request.task.exception()
        if error is None:
            return request.task.result()
        if isinstance(error, ModelError):
            assert str(error) in self.replies[request.name], "the failure of another request"
        elif isinstance(error, PredictionTimeout):
            timed_out = now >= request.since + request_seconds
            assert timed_out or PredictionTimeout in request.allowed, "timed out too early"
        elif isinstance(error, WorkerProtocolError):
            assert request.name in self.accused, "failed by what another process sent"
        elif isinstance(error, WorkerCrashed) and WorkerCrashed not in request.allowed:
            self.crash_reported.add(request.name)  # checked later: the process may not have ended yet
        else:
            assert isinstance(error, tuple(request.allowed)), (request.name, error)
        return error
