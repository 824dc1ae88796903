"""A pool over real processes that are killed and stopped: nobody is lost, and nothing is left."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
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
from tests.workers.conftest import Files, key, load
from tests.workers.stateful.effort import effort
from workers.errors import (
    CapacityExceeded,
    ModelError,
    ModelNotLoaded,
    ModelPinned,
    PredictionTimeout,
    WorkerCrashed,
)
from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import Job, ModelKey, Reply

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = PoolLimits(max_loaded_models=2, request_seconds=30.0, load_seconds=60.0)
SECONDS = 90.0
KEYS = [key(name) for name in ("commands", "streams", "again")]
MODELS = st.sampled_from(KEYS)
PLACES = st.integers(0, 1_000)
WORDS = st.sampled_from(["x", "x", "sleep 0.05", "raise", "die"])


class Caller:
    """What was asked under which name, and what may come of it."""

    def __init__(self, name: str, word: str, task: asyncio.Task[Reply]) -> None:
        self.name = name
        self.word = word
        self.task = task
        self.allowed: set[type[BaseException]] = set()
        self.kills = 0


class House(RuleBasedStateMachine):
    """Three models share two places, and each is asked things that it survives and that it does not."""

    def __init__(self, folders: dict[str, Path]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()
        self.files = {of: Files(of, folders.get(of.name, folders["commands"])) for of in KEYS}
        self.pinned: set[ModelKey] = set()
        self.callers: list[Caller] = []
        self.killed: set[int] = set()
        self.number = 0
        gc.collect()
        self.children = self.processes()

    def run(self, work: Any) -> Any:
        return self.runner.run(asyncio.wait_for(work, SECONDS))

    @initialize()
    def begin(self) -> None:
        """Two are warm."""
        self.pool = self.run(self.opened())
        gc.collect()
        self.descriptors = psutil.Process().num_fds()
        for of in KEYS[:2]:
            self.load(of)

    @staticmethod
    async def opened() -> Pool:
        pool = Pool(lambda: LIMITS)
        await pool.open()
        return pool

    @rule(of=MODELS)
    def load(self, of: ModelKey) -> None:
        """It is warm afterwards; who has to go for that is neither busy nor pinned."""
        places = {of, *self.pinned}
        try:
            self.run(load(self.pool, self.files[of]))
        except CapacityExceeded:
            assert len(places) > LIMITS.max_loaded_models
        else:
            assert self.pool.is_warm(of)

    @rule(of=MODELS, words=st.lists(WORDS, min_size=1, max_size=4))
    def ask(self, of: ModelKey, words: list[str]) -> None:
        """Some ask one at once."""
        warm = self.pool.is_warm(of)
        for word in words:
            self.number += 1
            name = f"{of.name} {self.number}"
            last = f"raise {self.number}" if word == "raise" else f"say {name}"
            job = Job(body(do=["x" if word == "raise" else word, last]))
            caller = Caller(name, word, self.loop.create_task(self.pool.predict(of, job)))
            if not warm:
                caller.allowed.add(ModelNotLoaded)
            self.callers.append(caller)
        self.run(asyncio.sleep(0))

    @precondition(lambda self: self.waiting())
    @rule(place=PLACES)
    def go_away(self, place: int) -> None:
        """A caller is cancelled."""
        caller = self.waiting()[place % len(self.waiting())]
        caller.allowed.add(asyncio.CancelledError)
        caller.task.cancel()

    @rule(place=PLACES, stops=st.booleans())
    def kill(self, place: int, stops: bool) -> None:
        """A worker is killed from without, or stopped first, so that it cannot answer any more."""
        if workers := self.workers():
            worker = workers[place % len(workers)]
            for caller in self.waiting():
                caller.kills += 1  # it may be what ran
            with suppress(ProcessLookupError):  # it was faster
                if stops:
                    os.kill(worker, signal.SIGSTOP)
                    self.run(asyncio.sleep(0.02))
                os.kill(worker, signal.SIGKILL)

    @rule(of=MODELS)
    def unload(self, of: ModelKey) -> None:
        """What it was asked is answered, and it is gone; not where it is pinned."""
        try:
            self.run(self.pool.unload(of))
        except ModelPinned:
            assert of in self.pinned
        else:
            assert of not in self.pinned
            assert not self.pool.is_warm(of)

    @rule(of=MODELS)
    def pin(self, of: ModelKey) -> None:
        """It stays, or may go."""
        if of in self.pinned:
            self.pinned.discard(of)
            self.pool.unpin(of)
        else:
            self.pinned.add(of)
            self.pool.pin(of)

    @rule()
    def let_all_hear(self) -> None:
        """Everybody waits for the answer."""
        self.run(asyncio.gather(*(caller.task for caller in self.callers), return_exceptions=True))

    @invariant()
    def own_answers_and_room(self) -> None:
        """Whoever has heard has heard its own; no more are loaded than may be."""
        self.run(asyncio.sleep(0))
        for caller in self.callers:
            if caller.task.done():
                self.check(caller)
        self.callers = self.waiting()
        assert len(self.pool.states()) <= LIMITS.max_loaded_models

    def check(self, caller: Caller) -> None:
        if caller.task.cancelled():
            assert asyncio.CancelledError in caller.allowed
            return
        error = caller.task.exception()
        if error is None:
            assert caller.word not in {"raise", "die"}
            assert orjson.loads(caller.task.result().body) == [caller.name]
        elif isinstance(error, ModelError):
            assert caller.word == "raise"
            assert error.text.startswith(caller.name.split()[1] + " ")
        elif isinstance(error, WorkerCrashed):
            assert caller.word == "die" or caller.kills >= 2, "it paid for another's job"
        elif not isinstance(error, PredictionTimeout):
            assert type(error) in caller.allowed, error

    def waiting(self) -> list[Caller]:
        return [caller for caller in self.callers if not caller.task.done()]

    def workers(self) -> list[int]:
        """The processes that serve, as the pool knows them."""
        held = self.pool._places.held.values()
        posts = [post for each in held for post in each.crew._dispatcher.posts]
        return [pid for post in posts if not post.worker.dead and (pid := post.worker.pid)]

    @staticmethod
    def processes() -> set[int]:
        """All that were started under us, but for the template and what Python keeps beside it."""
        ours = psutil.Process()
        return {child.pid for direct in ours.children() for child in direct.children(recursive=True)}

    def teardown(self) -> None:
        with self.runner:
            if hasattr(self, "pool"):
                self.let_all_hear()
                self.own_answers_and_room()
                self.run(self.pool.close(drain_seconds=30.0))
                self.run(asyncio.sleep(0.1))
                assert not asyncio.all_tasks(self.loop)
                assert not self.pool.states()
        assert all(files.entered == files.left for files in self.files.values())
        assert self.processes() <= self.children
        del self.pool
        gc.collect()
        assert psutil.Process().num_fds() <= self.descriptors


@pytest.mark.timeout(900)
def test_house(folders: dict[str, Path]) -> None:
    """Whatever is asked of a pool and done to its processes, in any order."""
    house: Any = partial(House, folders)
    run_state_machine_as_test(house, settings=effort(3, 8, shrinks=False))
