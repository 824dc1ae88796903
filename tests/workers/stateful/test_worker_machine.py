"""One real process with a real model, whatever is done to it: each batch is heard of once."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import orjson
import psutil
import pytest
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.models import body
from tests.workers.conftest import key
from tests.workers.stateful.effort import effort
from workers.errors import WorkerCrashed
from workers.process.forkserver import ForkServer
from workers.process.launcher import launch
from workers.protocol.messages import Failure, Job, ModelSource, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from workers.process.channel import BatchOutcome
    from workers.process.worker import ProcessWorker

SECONDS = 60.0  # for what takes a moment
NAMES = st.lists(st.sampled_from(["x", "raise", "exit", "sleep 0.02"]), min_size=1, max_size=4)


class Batch:
    """What was asked under which number, and how often and what was heard."""

    def __init__(self, number: int, words: list[str]) -> None:
        self.number = number
        self.words = words
        self.heard: list[BatchOutcome] = []
        self.over = asyncio.Event()

    @property
    def jobs(self) -> list[Job]:
        """Each says its own name at last, in its answer or in its failure."""
        last = [f"{'raise' if word == 'raise' else 'say'} {name}" for word, name in self.named()]
        return [
            Job(body(do=[word if word != "raise" else "x", say]))
            for word, say in zip(self.words, last, strict=True)
        ]

    @property
    def expected(self) -> list[str]:
        """What their answers say."""
        return ["SystemExit" if word == "exit" else name for word, name in self.named()]

    def named(self) -> list[tuple[str, str]]:
        return [(word, f"{self.number}.{place}") for place, word in enumerate(self.words)]

    def hear(self, heard: BatchOutcome) -> None:
        self.heard.append(heard)
        self.over.set()


class Life(RuleBasedStateMachine):
    """It is started, asked, stopped and continued, killed at work and idle, closed; `state` is the model."""

    def __init__(self, folder: Path, starter: ThreadPoolExecutor) -> None:
        super().__init__()
        self.folder = folder
        self.starter = starter
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()
        self.state = "cold"
        self.deaths: list[ProcessWorker] = []
        self.starts = self.first = 0
        self.batches: list[Batch] = []
        self.stopped = False
        self.template = ForkServer()
        self.template.ensure_running()
        gc.collect()
        self.descriptors = psutil.Process().num_fds()

    def run(self, work: Any) -> Any:
        return self.runner.run(asyncio.wait_for(work, SECONDS))

    @initialize()
    def begin(self) -> None:
        """Most of what can happen needs one that is warm."""
        self.start()

    @precondition(lambda self: self.state in {"cold", "dead"})
    @rule()
    def start(self) -> None:
        """One is started."""
        self.worker = self.run(self.started())
        self.pid = self.worker.pid
        self.starts += 1
        self.first = len(self.batches)
        self.state, self.stopped = "warm", False
        assert self.worker.connected
        assert not self.worker.dead

    async def started(self) -> ProcessWorker:
        source = ModelSource(key("commands"), str(self.folder))
        return await launch(
            source,
            forkserver=self.template,
            spawn_executor=self.starter,
            seconds=SECONDS,
            on_exit=self.deaths.append,
        )

    @precondition(lambda self: self.state in {"cold", "dead"})
    @rule(turns=st.sampled_from([0, 1, 2, 3, 5, 8, 100]))
    def start_and_think_better_of_it(self, turns: int) -> None:
        """A start that is cancelled leaves no process; its death is told of, once, all the same."""
        before = len(self.deaths)
        self.run(self.given_up(turns))
        assert len(self.deaths) <= before + 1
        self.deaths[before:] = []

    async def given_up(self, turns: int) -> None:
        start = asyncio.create_task(self.started())
        for _ in range(turns):
            await asyncio.sleep(0.001 if turns == 100 else 0)
        start.cancel()
        with suppress(asyncio.CancelledError):
            await (await start).kill()

    @precondition(lambda self: self.state == "warm")
    @rule(words=NAMES, waits=st.booleans())
    def ask(self, words: list[str], waits: bool) -> None:
        """It is given a batch, beside those that it may have."""
        batch = self.given(words)
        if waits and not self.stopped:
            self.run(batch.over.wait())

    def given(self, words: list[str]) -> Batch:
        async def give() -> Batch:
            batch = Batch(len(self.batches), words)
            self.worker.send_batch(batch.jobs, batch.hear)
            assert not batch.heard, "it is told before it has asked"
            return batch

        batch: Batch = self.run(give())
        self.batches.append(batch)
        return batch

    @precondition(lambda self: self.state == "warm" and not self.stopped)
    @rule(behind=st.integers(0, 2))
    def ask_for_its_death(self, behind: int) -> None:
        """A batch ends it; those behind are told so."""
        for words in (["x", "die"], *(["x"] for _ in range(behind))):
            self.given(words)
        self.run(self.worker._watcher.dead.wait())
        self.dead()

    @precondition(lambda self: self.state == "warm")
    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]))
    def kill_from_without(self, number: int) -> None:
        """Somebody ends it, at work or idle."""
        os.kill(self.pid, signal.SIGKILL if self.stopped else number)
        self.run(self.worker._watcher.dead.wait())
        self.dead()

    @precondition(lambda self: self.state == "warm")
    @rule()
    def stop(self) -> None:
        """It is stopped, or goes on."""
        os.kill(self.pid, signal.SIGCONT if self.stopped else signal.SIGSTOP)
        self.stopped = not self.stopped

    @precondition(lambda self: self.state != "cold")
    @rule(times=st.integers(1, 2))
    def kill(self, times: int) -> None:
        """Its owner ends it, whatever it does; twice is as good as once."""
        for _ in range(times):
            self.run(self.worker.kill())
        self.dead()

    @precondition(lambda self: self.state != "cold" and not self.stopped)
    @rule()
    def close(self) -> None:
        """Its owner lets it end."""
        self.run(self.worker.close())
        self.dead()

    @precondition(lambda self: self.state == "dead")
    @rule()
    def ask_the_dead(self) -> None:
        """Who asks it is told, later."""
        batch = self.given(["x"])
        self.run(batch.over.wait())
        assert isinstance(batch.heard[0], WorkerCrashed)

    def dead(self) -> None:
        """All who waited hear of it."""
        self.state = "dead"
        self.run(self.all_heard())
        assert self.deaths.count(self.worker) == 1
        assert not self.worker.connected
        assert self.worker.dead

    async def all_heard(self) -> None:
        for batch in self.batches:
            await batch.over.wait()

    @invariant()
    def each_is_told_once(self) -> None:
        """In order, its own, whole or not at all."""
        self.run(asyncio.sleep(0))
        assert [worker for worker in self.deaths if self.deaths.count(worker) > 1] == []
        assert len(self.deaths) <= self.starts
        order = [bool(batch.heard) for batch in self.batches]
        assert order == sorted(order, reverse=True), "a later batch was heard of first"
        for batch in self.batches:
            assert len(batch.heard) <= 1
            if batch.heard and not isinstance(batch.heard[0], WorkerCrashed):
                answers, seconds = batch.heard[0]
                assert seconds >= 0
                assert [self.told(answer) for answer in answers] == batch.expected

    @staticmethod
    def told(answer: Any) -> str:
        """The name that an answer says, or that its failure tells."""
        if isinstance(answer, Failure):
            return answer.text.split()[0] if answer.exception == "ValueError" else answer.exception
        assert isinstance(answer, Reply)
        (name,) = orjson.loads(answer.body)
        return str(name)

    def since_the_start(self) -> list[Batch]:
        return self.batches[self.first :]

    def teardown(self) -> None:
        with self.runner:
            if self.state == "warm":
                if self.stopped:
                    self.stop()
                self.run(self.all_heard())
                assert not any(isinstance(batch.heard[0], WorkerCrashed) for batch in self.since_the_start())
                self.close()
            assert len(self.deaths) == self.starts
            self.run(asyncio.sleep(0.1))  # the notice that is given of a death is over
            assert len(asyncio.all_tasks(self.loop)) == 0
        self.deaths.clear()
        del self.worker
        gc.collect()
        assert psutil.Process().num_fds() <= self.descriptors


@pytest.mark.timeout(900)
def test_life(folders: dict[str, Path]) -> None:
    """Whatever is done to a worker, in any order."""
    with ThreadPoolExecutor(2) as starter:
        life = partial(Life, folders["commands"], starter)
        run_state_machine_as_test(life, settings=effort(8, 8, shrinks=False))  # type: ignore[arg-type] # it is called
