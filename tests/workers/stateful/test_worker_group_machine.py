"""A worker group with scripted processes: no request is lost, answered twice or given another's reply."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.workers.stateful.effort import effort
from tests.workers.stateful.ledger import ClientRequest, OpenedStream
from tests.workers.stateful.scripted_group import start_group
from tests.workers.stateful.scripted_machine import INDEXES, ITERATIONS, PAUSES, ScriptedMachine
from workers.errors import ModelLoadError, PoolClosed, PredictionTimeout, QueueFull, WorkerCrashed
from workers.limits import PoolLimits
from workers.protocol.messages import Job, Reply

if TYPE_CHECKING:
    from workers.scheduler.worker_group import WorkerGroup

LIMITS = PoolLimits(
    workers_per_model=2, max_queue=8, request_seconds=10.0, stream_seconds=15.0, load_seconds=5.0
)
MAX_RESTART_SECONDS = 30.0


class WorkerGroupMachine(ScriptedMachine):
    """Clients predict, stream and leave; processes reply, die and hang; the group is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[OpenedStream] = []
        self.closing: asyncio.Task[None] | None = None
        self.failed = False
        self.idle_count = 0
        self.last_idle_count = 0
        self.was_busy = False

    @initialize(pipelined=st.booleans(), row_batching=st.booleans(), waiting=st.integers(0, 6))
    def begin(self, pipelined: bool, row_batching: bool, waiting: int) -> None:
        """Two workers have loaded the model, which may be so fast that they get batches in advance."""
        self.seconds_per_request = 0.0001 if pipelined else 0.021
        self.forkserver.row_batching = row_batching
        self.group = self.loop.run(
            start_group(self.forkserver, LIMITS, on_failed=self.on_failed, on_idle=self.on_idle)
        )
        if waiting:
            self.predict(waiting, 2)

    def on_idle(self) -> None:
        assert not self.group.dispatcher.busy, "it reports that it is idle, and is busy"
        self.idle_count += 1

    def on_failed(self, group: WorkerGroup, error: ModelLoadError) -> None:
        """Do what the pool does: close the group, and send it no more requests."""
        assert isinstance(error, ModelLoadError)
        assert not group.pids
        assert not self.failed
        self.failed = True
        self.allow(ModelLoadError)
        self.start_close(0.0)

    # What clients do

    def is_open(self) -> bool:
        return self.closing is None

    @precondition(is_open)
    @rule(count=st.integers(1, 4), iterations=ITERATIONS)
    def predict(self, count: int, iterations: int) -> None:
        """Some clients ask for predictions at once."""
        for _ in range(count):
            name = self.create_name("job")
            self.add_request(name, self.group.predict(Job(name)))
        self.spin(iterations)

    @precondition(is_open)
    @rule(iterations=ITERATIONS)
    def open_stream(self, iterations: int) -> None:
        """A client opens a stream."""
        name = self.create_name("stream")
        self.add_request(name, self.group.stream(Job(name)))
        self.spin(iterations)

    @precondition(lambda self: self.streams)
    @rule(index=INDEXES, iterations=ITERATIONS)
    def read_chunk(self, index: int, iterations: int) -> None:
        """A client asks for the next chunk, unless it waits for one."""
        opened = self.streams[index % len(self.streams)]
        if opened.request is None:
            chunk = _next_chunk(anext(opened.stream))
            opened.request = self.add_request(opened.name, cast("Any", chunk))
            opened.request.allowed |= {WorkerCrashed, PredictionTimeout}
        self.spin(iterations)

    @precondition(lambda self: self.streams)
    @rule(index=INDEXES, iterations=ITERATIONS)
    def close_stream(self, index: int, iterations: int) -> None:
        """A client closes its stream as the gateway does: what it waits for is cancelled first."""
        opened = self.streams.pop(index % len(self.streams))
        if opened.request is not None:
            opened.request.allowed.add(asyncio.CancelledError)
            opened.request.task.cancel()
            self.spin(1)
        self.loop.call(opened.stream.close)
        self.spin(iterations)

    # What happens by itself

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        """Time passes; a worker that runs a batch for longer than a request may take is killed."""
        busy = [process for process in self.forkserver.connected if process.busy]
        idle = not self.group.dispatcher.busy
        self.loop.advance(seconds)
        self.forget_heard()
        if idle and seconds >= 1.0 and self.closing is not None:
            assert self.closing.done(), "it has no request, and does not close"
        if seconds > LIMITS.request_seconds + 0.6:
            assert not [process for process in busy if process.alive], "it hangs, and is not killed"

    @precondition(is_open)
    @rule(drain_seconds=st.sampled_from([0.0, 0.0, 1.0, 30.0]), iterations=ITERATIONS)
    def close(self, drain_seconds: float, iterations: int) -> None:
        """The group is closed; a request without a reply then ends with PoolClosed."""
        self.start_close(drain_seconds)
        self.spin(iterations)

    def start_close(self, drain_seconds: float) -> None:
        if self.closing is None:
            self.allow(PoolClosed)
            self.closing = self.loop.create_task(self.group.close(drain_seconds=drain_seconds))

    @invariant()
    def every_outcome_is_right(self) -> None:
        """Each client got what belongs to its own request, and the group is busy while one waits."""
        for request in self.requests:
            if request.task.done() and not request.checked:
                self.check(request)
        assert not self.loop.errors, self.loop.errors
        serving = [process for process in self.forkserver.alive if not process.kill_requested]
        assert len(serving) <= LIMITS.workers_per_model
        assert len(self.group.pids) <= LIMITS.workers_per_model
        busy = self.group.dispatcher.busy
        if self.has_submitted() and not self.failed and self.closing is None:
            assert busy, "it has a request, and reports that it is idle"
        if self.was_busy and not busy and self.closing is None:
            assert self.idle_count > self.last_idle_count, "it became idle, and did not report it"
        self.was_busy, self.last_idle_count = busy, self.idle_count

    # The model of it

    def has_submitted(self) -> bool:
        """Tell whether the group has a request that is not answered."""
        return any(not request.task.done() and request.submitted for request in self.requests)

    def add_request(self, name: bytes, coroutine: Any) -> ClientRequest:
        full = len(self.unanswered()) >= LIMITS.max_queue
        request = self.start_client(name, coroutine)
        if full:
            request.allowed.add(QueueFull)
        if self.closing is not None:
            request.allowed.add(PoolClosed)
        return request

    def check(self, request: ClientRequest) -> None:
        outcome = self.ledger.check(request, self.loop.time(), request_seconds=LIMITS.request_seconds)
        opened = next((opened for opened in self.streams if opened.request is request), None)
        if opened is not None:
            opened.request = None
            if isinstance(outcome, bytes):
                assert outcome == b"%s.%d" % (request.name, opened.chunks_read), "a chunk is missing or wrong"
                opened.chunks_read += 1
        elif hasattr(outcome, "body"):
            assert isinstance(outcome, Reply)
            assert outcome.body == b"answer to " + request.name, "the reply to another request"
            assert outcome.body in self.ledger.replies[request.name], "a reply that no process sent"
        elif hasattr(outcome, "close"):
            self.streams.append(OpenedStream(request.name, outcome))

    # The end

    def teardown(self) -> None:
        with self.resources:
            if hasattr(self, "group"):
                self.finish_requests()
                self.check_close()

    def finish_requests(self) -> None:
        """Let every process reply, and close every stream: each client gets its outcome."""
        for _ in range(200):
            self.let_all_reply()
            self.every_outcome_is_right()
            while self.streams:
                self.close_stream(0, 1)
            self.wait(0.3)
            busy = self.group.dispatcher.busy
            if not self.unanswered() and not busy and (self.closing is None or self.closing.done()):
                return
        pytest.fail(f"{[request.name for request in self.unanswered()]} wait; busy: {busy}")

    def check_close(self) -> None:
        """An idle group closes at once, and leaves no process, task or timer."""
        self.ledger.check_crash_reports()
        self.loop.advance(MAX_RESTART_SECONDS + 10.0)
        for process in self.forkserver.alive:
            process.report_load()
        if self.closing is None:
            assert len(self.group.pids) == LIMITS.workers_per_model
            before = self.loop.time()
            self.loop.run(self.group.close(drain_seconds=60.0))
            assert self.loop.time() - before < 6.0
        else:
            self.closing.result()
        self.loop.advance(1.0)
        assert not self.forkserver.alive
        assert not asyncio.all_tasks(self.loop)
        assert not self.loop.timers()
        assert not self.loop.errors


async def _next_chunk(chunk: Any) -> bytes | None:
    try:
        body: bytes = await chunk
    except StopAsyncIteration:
        return None
    return body


TestWorkerGroup = WorkerGroupMachine.TestCase
TestWorkerGroup.settings = effort(80, 30)
