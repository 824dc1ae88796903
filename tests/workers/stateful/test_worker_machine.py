"""A worker with a real process and model: each batch gets one outcome, whatever is done to the process."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.support.models import body
from tests.workers.conftest import key
from tests.workers.stateful.effort import effort
from tests.workers.stateful.real_machine import TIMEOUT_SECONDS, RealMachine
from workers.errors import WorkerCrashed
from workers.process.forkserver import ForkServer
from workers.process.launcher import launch
from workers.protocol.messages import Failure, Job, ModelSource, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from workers.process.channel import BatchOutcome
    from workers.process.worker import ProcessWorker

COMMANDS = st.lists(st.sampled_from(["x", "raise", "exit", "sleep 0.02"]), min_size=1, max_size=4)


class Batch:
    """A batch of jobs, and its outcomes: exactly one in the end."""

    def __init__(self, number: int, commands: list[str]) -> None:
        self.number = number
        self.commands = commands
        self.outcomes: list[BatchOutcome] = []
        self.done = asyncio.Event()

    @property
    def jobs(self) -> list[Job]:
        """Jobs whose replies or failures name them."""
        last = [f"{'raise' if command == 'raise' else 'say'} {name}" for command, name in self.named()]
        return [
            Job(body(do=[command if command != "raise" else "x", say]))
            for command, say in zip(self.commands, last, strict=True)
        ]

    @property
    def expected(self) -> list[str]:
        """What the replies or failures say."""
        return ["SystemExit" if command == "exit" else name for command, name in self.named()]

    def named(self) -> list[tuple[str, str]]:
        return [(command, f"{self.number}.{index}") for index, command in enumerate(self.commands)]

    def on_reply(self, outcome: BatchOutcome) -> None:
        self.outcomes.append(outcome)
        self.done.set()


class WorkerMachine(RealMachine):
    """A worker is started, given batches, stopped and continued, killed and closed; `state` is the model."""

    def __init__(self, folder: Path, spawn_executor: ThreadPoolExecutor) -> None:
        super().__init__()
        self.folder = folder
        self.spawn_executor = spawn_executor
        self.state = "cold"
        self.exits: list[ProcessWorker] = []
        self.start_count = self.first_batch = 0
        self.batches: list[Batch] = []
        self.stopped = False
        self.forkserver = ForkServer(fork_timeout_seconds=10 * TIMEOUT_SECONDS)  # for the imports
        self.forkserver.ensure_running()
        self.count_descriptors()

    @initialize()
    def begin(self) -> None:
        """A worker is started, since most operations need one."""
        self.start()

    @precondition(lambda self: self.state in {"cold", "dead"})
    @rule()
    def start(self) -> None:
        """A worker is started."""
        self.worker = self.run(self.start_worker())
        self.pid = self.worker.pid
        self.start_count += 1
        self.first_batch = len(self.batches)
        self.state, self.stopped = "warm", False
        assert self.worker.connected
        assert not self.worker.dead

    async def start_worker(self) -> ProcessWorker:
        source = ModelSource(key("commands"), str(self.folder))
        return await launch(
            source,
            forkserver=self.forkserver,
            spawn_executor=self.spawn_executor,
            seconds=TIMEOUT_SECONDS,
            on_exit=self.exits.append,
        )

    @precondition(lambda self: self.state in {"cold", "dead"})
    @rule(iterations=st.sampled_from([0, 1, 2, 3, 5, 8, 100]))
    def cancel_start(self, iterations: int) -> None:
        """A start that is cancelled leaves no process; its exit is reported at most once."""
        before = len(self.exits)
        self.run(self.start_and_cancel(iterations))
        assert len(self.exits) <= before + 1
        self.exits[before:] = []

    async def start_and_cancel(self, iterations: int) -> None:
        start = asyncio.create_task(self.start_worker())
        for _ in range(iterations):
            await asyncio.sleep(0.001 if iterations == 100 else 0)
        start.cancel()
        with suppress(asyncio.CancelledError):
            await (await start).kill()

    @precondition(lambda self: self.state == "warm")
    @rule(commands=COMMANDS, waits=st.booleans())
    def send_batch(self, commands: list[str], waits: bool) -> None:
        """The worker is given a batch, beside those that it may have."""
        batch = self.send(commands)
        if waits and not self.stopped:
            self.run(batch.done.wait())

    def send(self, commands: list[str]) -> Batch:
        async def send() -> Batch:
            batch = Batch(len(self.batches), commands)
            self.worker.send_batch(batch.jobs, batch.on_reply)
            assert not batch.outcomes, "the callback was called before the call returned"
            return batch

        batch: Batch = self.run(send())
        self.batches.append(batch)
        return batch

    @precondition(lambda self: self.state == "warm" and not self.stopped)
    @rule(behind=st.integers(0, 2))
    def crash(self, behind: int) -> None:
        """A batch ends the process; the batches behind it are answered too."""
        for commands in (["x", "die"], *(["x"] for _ in range(behind))):
            self.send(commands)
        self.wait_for_exit()

    @precondition(lambda self: self.state == "warm")
    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]))
    def end_by_signal(self, number: int) -> None:
        """A signal ends the process, busy or idle."""
        os.kill(self.pid, signal.SIGKILL if self.stopped else number)
        self.wait_for_exit()

    def wait_for_exit(self) -> None:
        self.run(self.worker.watcher.dead.wait())
        self.check_dead()

    @precondition(lambda self: self.state == "warm")
    @rule()
    def stop_or_continue(self) -> None:
        """The process is stopped, or continues."""
        os.kill(self.pid, signal.SIGCONT if self.stopped else signal.SIGSTOP)
        self.stopped = not self.stopped

    @precondition(lambda self: self.state != "cold")
    @rule(times=st.integers(1, 2))
    def kill(self, times: int) -> None:
        """The owner kills the process, whatever it does; to do so twice does no harm."""
        for _ in range(times):
            self.run(self.worker.kill())
        self.check_dead()

    @precondition(lambda self: self.state != "cold" and not self.stopped)
    @rule()
    def close(self) -> None:
        """The owner lets the process end."""
        self.run(self.worker.close())
        self.check_dead()

    @precondition(lambda self: self.state == "dead")
    @rule()
    def send_to_the_dead(self) -> None:
        """A batch for a dead worker gets its outcome too, later."""
        batch = self.send(["x"])
        self.run(batch.done.wait())
        assert isinstance(batch.outcomes[0], WorkerCrashed)

    def check_dead(self) -> None:
        """Check that all batches have an outcome, and that the exit was reported once."""
        self.state = "dead"
        self.run(self.wait_for_all())
        assert self.exits.count(self.worker) == 1
        assert not self.worker.connected
        assert self.worker.dead

    async def wait_for_all(self) -> None:
        for batch in self.batches:
            await batch.done.wait()

    @invariant()
    def each_batch_has_one_outcome(self) -> None:
        """The outcomes come in order, and each is the batch's own: all of its replies, or a crash."""
        self.run(asyncio.sleep(0))
        assert [worker for worker in self.exits if self.exits.count(worker) > 1] == []
        assert len(self.exits) <= self.start_count
        order = [bool(batch.outcomes) for batch in self.batches]
        assert order == sorted(order, reverse=True), "a later batch had its outcome first"
        for batch in self.batches:
            assert len(batch.outcomes) <= 1
            if batch.outcomes and not isinstance(batch.outcomes[0], WorkerCrashed):
                replies, seconds = batch.outcomes[0]
                assert seconds >= 0
                assert [self.name_in(reply) for reply in replies] == batch.expected

    @staticmethod
    def name_in(reply: Any) -> str:
        """Return the name in a reply or a failure."""
        if isinstance(reply, Failure):
            return reply.text.split()[0] if reply.exception == "ValueError" else reply.exception
        assert isinstance(reply, Reply)
        (name,) = orjson.loads(reply.body)
        return str(name)

    def teardown(self) -> None:
        with self.runner:
            if self.state == "warm":
                if self.stopped:
                    self.stop_or_continue()
                self.run(self.wait_for_all())
                latest = self.batches[self.first_batch :]
                assert not any(isinstance(batch.outcomes[0], WorkerCrashed) for batch in latest)
                self.close()
            assert len(self.exits) == self.start_count
            self.exits.clear()
            del self.worker
            self.wait_until_cleaned_up()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_worker(folders: dict[str, Path]) -> None:
    """A worker stays right whatever is done to it, in any order."""
    with ThreadPoolExecutor(2) as spawn_executor:
        machine = partial(WorkerMachine, folders["commands"], spawn_executor)
        run_state_machine_as_test(machine, settings=effort(8, 8, shrinks=False))  # type: ignore[arg-type] # it is called
