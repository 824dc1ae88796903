"""What the machines over scripted workers have in common."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.workers.stateful.ledger import ClientRequest, Ledger
from tests.workers.stateful.scripted_group import scripted_workers
from workers.protocol import framing

if TYPE_CHECKING:
    from tests.workers.stateful.scripted import ScriptedProcess
    from workers.protocol.messages import WorkerRequest

INDEXES = st.integers(0, 1_000)  # modulo the number of those to choose from
ITERATIONS = st.integers(0, 3)
OUTCOMES = st.sampled_from(["good", "good", "good", "failure", "too few", "wrong kind", "end"])
PAUSES = st.sampled_from([0.01, 0.04, 0.05, 0.06, 0.3, 0.6, 1.0, 4.0, 11.0])
GARBAGE = st.sampled_from([b"\xff" * framing.HEADER.size, b"Traceback (most recent call last):\n"])
STARTS = st.sampled_from(["slow", "fails", "dies", "refused", "exhausted", "good"])


class ScriptedMachine(RuleBasedStateMachine):
    """Clients leave; processes reply well and badly, die, hang and fail to start."""

    seconds_per_request = 0.021  # as the processes report it

    def __init__(self) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.loop, self.forkserver = self.resources.enter_context(scripted_workers())
        self.ledger = Ledger()
        self.forkserver.on_exit, self.forkserver.on_unread = self.record_exit, self.ledger.record_unread
        self.forkserver.on_accused = self.ledger.record_accused
        self.requests: list[ClientRequest] = []
        self.unheard: dict[ScriptedProcess, list[WorkerRequest]] = {}
        self.name_count = 0

    @precondition(lambda self: self.unanswered())
    @rule(index=INDEXES, iterations=ITERATIONS)
    def cancel_client(self, index: int, iterations: int) -> None:
        """A client is cancelled, wherever its request is."""
        request = self.unanswered()[index % len(self.unanswered())]
        request.allowed.add(asyncio.CancelledError)
        request.task.cancel()
        self.spin(iterations)

    def has_work(self) -> bool:
        return any(process.busy for process in self.forkserver.connected)

    @precondition(has_work)
    @rule(
        index=INDEXES, outcome=OUTCOMES, held_bytes=st.sampled_from([0, 0, 0, 1, 30]), iterations=ITERATIONS
    )
    def reply(self, index: int, outcome: str, held_bytes: int, iterations: int) -> None:
        """A process replies to its batch; the end of the reply may come later."""
        busy = [process for process in self.forkserver.connected if process.busy]
        self.let_reply(busy[index % len(busy)], outcome, held_bytes=held_bytes)
        self.spin(iterations)

    def let_reply(self, process: ScriptedProcess, outcome: str, *, held_bytes: int = 0) -> None:
        if process.unsent:
            process.flush()
        batch = self.ledger.take_batch(process)
        if batch is not None:
            replies = self.ledger.create_replies(process, batch, outcome)
            self.unheard.setdefault(process, []).extend(batch)
            process.reply([*replies], self.seconds_per_request * len(batch), held_bytes=held_bytes)

    @precondition(lambda self: self.forkserver.connected)
    @rule(index=INDEXES)
    def begin_batch(self, index: int) -> None:
        """A process begins the batch that it is given."""
        processes = self.forkserver.connected
        self.ledger.take_batch(processes[index % len(processes)])

    @precondition(lambda self: self.forkserver.alive)
    @rule(
        index=INDEXES,
        report_delay=st.sampled_from([0.0, 0.0, 0.02, 0.2]),
        disconnect_delay=st.sampled_from([0.0, 0.0, 0.02, 0.2]),
        iterations=ITERATIONS,
    )
    def die(self, index: int, report_delay: float, disconnect_delay: float, iterations: int) -> None:
        """A process ends. A child of it may hold its socket open, and the system may report its end late."""
        process = self.forkserver.alive[index % len(self.forkserver.alive)]
        process.die(report_delay=report_delay, disconnect_delay=disconnect_delay)
        self.spin(iterations)

    @precondition(lambda self: self.forkserver.connected)
    @rule(index=INDEXES, garbage=GARBAGE, iterations=ITERATIONS)
    def send_garbage(self, index: int, garbage: bytes, iterations: int) -> None:
        """A process sends bytes that are no frame; it is disconnected and killed."""
        process = self.forkserver.connected[index % len(self.forkserver.connected)]
        process.flush()
        process.write(garbage)
        process.sent_garbage = True
        self.ledger.record_accused([*(process.running or ()), *process.unread()])
        self.spin(iterations)

    @rule(outcomes=st.lists(STARTS, max_size=3))
    def script_starts(self, outcomes: list[str]) -> None:
        """The next processes start in a scripted way."""
        self.forkserver.start_outcomes.extend(outcomes)

    @precondition(lambda self: any(not process.loaded for process in self.forkserver.alive))
    @rule(fails=st.booleans(), iterations=ITERATIONS)
    def finish_load(self, fails: bool, iterations: int) -> None:
        """A slow process reports how its load went."""
        next(process for process in self.forkserver.alive if not process.loaded).report_load(fails=fails)
        self.spin(iterations)

    def create_name(self, prefix: str) -> bytes:
        self.name_count += 1
        return b"%s%d" % (prefix.encode(), self.name_count)

    def start_client(self, name: bytes, coroutine: Any) -> ClientRequest:
        """Return a client's request, whose task runs `coroutine`."""
        request = ClientRequest(name, self.loop.create_task(coroutine), self.loop.time())
        self.requests.append(request)
        return request

    def unanswered(self) -> list[ClientRequest]:
        return [request for request in self.requests if not request.task.done()]

    def allow(self, error: type[BaseException]) -> None:
        """Allow every unanswered request to end with an error."""
        for request in self.unanswered():
            request.allowed.add(error)

    def record_exit(self, process: ScriptedProcess) -> None:
        self.ledger.record_exit(process, self.unheard.pop(process, []))

    def spin(self, iterations: int) -> None:
        """Run what is ready; two iterations deliver what a process has sent."""
        waiting = self.unanswered()
        self.loop.spin(iterations)
        for request in waiting if iterations else ():
            request.submitted = asyncio.CancelledError not in request.allowed
        if iterations >= 2:
            self.forget_heard()

    def forget_heard(self) -> None:
        """Forget which replies the gateway may not have yet, except those that were not sent whole."""
        self.unheard = {process: batch for process, batch in self.unheard.items() if process.unsent}

    def let_all_reply(self) -> None:
        """Let every process that can do so finish its load, and reply to its batch."""
        self.forkserver.start_outcomes.clear()
        for process in self.forkserver.connected:
            process.report_load()
            if process.loaded:
                self.let_reply(process, "good")
                process.flush()
        self.spin(2)
