"""A pool whose processes the test plays: models come and go, and no caller is lost or mixed up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.workers.conftest import Files, key, load
from tests.workers.stateful.effort import effort
from tests.workers.stateful.staged import TURNS, WAITS, Staged
from workers.errors import (
    CapacityExceeded,
    ModelLoadError,
    ModelNotLoaded,
    ModelPinned,
    PoolClosed,
    QueueFull,
    SystemResourcesExhausted,
)
from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import Job, ModelKey, Reply

if TYPE_CHECKING:
    from tests.workers.stateful.asking import Asked

LIMITS = PoolLimits(
    workers_per_model=1,
    max_loaded_models=2,
    max_queue=6,
    request_seconds=10.0,
    load_seconds=5.0,
    idle_seconds=60.0,
)
KEYS = [key(name) for name in ("a", "b", "c", "d")]
MODELS = st.sampled_from(KEYS)


class Company(Staged):
    """Four models share two places: loaded, asked, pinned, unloaded, lost, retired; at last it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.files = {of: Files(of, Path("/nowhere")) for of in KEYS}
        self.loads: dict[ModelKey, Asked] = {}
        self.pinned: set[ModelKey] = set()
        self.unloads: list[Asked] = []
        self.was_warm: set[ModelKey] = set()
        self.closing: asyncio.Task[None] | None = None

    @initialize(loaded=st.lists(MODELS, unique=True, min_size=1, max_size=2))
    def begin(self, loaded: list[ModelKey]) -> None:
        """Some are warm."""
        self.pool = self.loop.run(self.opened())
        for of in loaded:
            self.load_model(of, 0, True)

    @staticmethod
    async def opened() -> Pool:
        pool = Pool(lambda: LIMITS)
        await pool.open()
        return pool

    # What callers do

    @rule(of=MODELS, turns=TURNS, waits=st.sampled_from([True, True, False]))
    def load_model(self, of: ModelKey, turns: int, waits: bool) -> None:
        """One is loaded, unless it is being loaded; what is to fail of that is planned."""
        if of not in self.loads or self.loads[of].task.done():
            asked = self.begin_asking(b"load " + of.name.encode(), load(self.pool, self.files[of]))
            asked.allowed |= {ModelLoadError, SystemResourcesExhausted, CapacityExceeded}
            self.loads[of] = asked
            if self.closing is not None:
                asked.allowed.add(PoolClosed)
        if waits:
            self.loop.wait(1.1)  # until the least recently used may go, too
            self.settled()
        self.turn(turns)

    @rule(
        of=MODELS, any_warm=st.sampled_from([True, True, True, False]), count=st.integers(1, 3), turns=TURNS
    )
    def ask(self, of: ModelKey, any_warm: bool, count: int, turns: int) -> None:
        """Some ask one; whoever finds it warm is not told that it is not."""
        self.loop.turn(1)  # who was to unload it does so before
        if any_warm and not self.pool.is_loaded(of):
            of = next(filter(self.pool.is_loaded, KEYS), of)
        warm = self.pool.is_loaded(of)
        for _ in range(count):
            name = self.named(of.name)
            asked = self.begin_asking(name, self.pool.predict(of, Job(name)))
            if self.closing is not None:
                asked.allowed.add(PoolClosed)
            if not warm:
                asked.allowed.add(ModelNotLoaded)
            elif len(self.unanswered()) > LIMITS.max_queue:
                asked.allowed.add(QueueFull)
        self.turn(1 + turns)

    @rule(of=MODELS, really=st.sampled_from([False, False, True]), turns=TURNS)
    def unload(self, of: ModelKey, really: bool, turns: int) -> None:
        """It goes once it has answered, or its time is over; not where it is pinned."""
        if not really:
            return
        asked = self.begin_asking(b"unload " + of.name.encode(), self.pool.unload(of))
        self.unloads.append(asked)
        if of in self.pinned:
            asked.allowed.add(ModelPinned)
        else:
            self.was_warm.discard(of)
            self.allow_of(of, PoolClosed)
        self.turn(turns)

    @rule(of=MODELS)
    def pin(self, of: ModelKey) -> None:
        """It stays from now on, or no longer."""
        if of in self.pinned:
            self.pinned.discard(of)
            self.pool.unpin(of)
        else:
            self.loop.turn(1)  # who was to unload it does so before
            self.was_warm = {each for each in KEYS if self.pool.is_loaded(each)}
            self.pinned.add(of)
            self.pool.pin(of)

    @rule(seconds=st.one_of(WAITS, st.just(70.0)))
    def wait(self, seconds: float) -> None:
        """Time passes; a model that nobody has asked for is retired."""
        idle = {of for of in KEYS if self.pool.is_loaded(of) and not self.waits(of) and of not in self.pinned}
        self.loop.wait(seconds)
        self.settled()
        for of in idle if seconds > LIMITS.idle_seconds else ():
            if not self.is_of(self.loads.get(of), done=False) and of not in self.reloaded():
                assert not self.pool.is_loaded(of), "nobody asks for it, and it stays"

    @precondition(lambda self: self.closing is None)
    @rule(drain=st.sampled_from([0.0, 1.0, 30.0]), often=st.sampled_from([False] * 15 + [True]), turns=TURNS)
    def close(self, drain: float, often: bool, turns: int) -> None:
        """The pool is closed; seldom, since nothing happens after that."""
        if often:
            self.begin_to_close(drain)
        self.turn(turns)

    def begin_to_close(self, drain: float) -> None:
        self.allow(PoolClosed)
        self.closing = self.loop.create_task(self.pool.close(drain_seconds=drain))

    # The model's own

    @invariant()
    def all_in_order(self) -> None:
        """The bound holds, what is pinned stays, and whoever has heard has heard what is its own."""
        for of in KEYS:
            if str(of) in self.stage.lost:
                self.was_warm.discard(of)
                self.allow_of(of, PoolClosed)
                self.allow_of(of, ModelLoadError)
        self.stage.lost.clear()
        for asked in self.asked:
            if asked.task.done() and not asked.checked:
                self.check(asked)
        assert not self.loop.raised, self.loop.raised
        assert not self.stage.troubles, self.stage.troubles
        states = self.pool.statuses()
        assert len(states) <= LIMITS.max_loaded_models
        warm = {of for of, state in states.items() if state.state == "warm"}
        if self.closing is None:
            assert self.was_warm & self.pinned <= warm, "it was pinned, and is gone"
        self.was_warm = warm
        for of, files in self.files.items():
            assert files.left <= files.entered
            assert files.entered - files.left >= (of in warm), "its files went before it"

    def check(self, asked: Asked) -> None:
        told = self.ledger.check(asked, self.loop.time(), request_seconds=LIMITS.request_seconds)
        if isinstance(told, CapacityExceeded):
            others = {of for of in KEYS if of in self.pinned}
            waited = self.loop.time() - asked.since
            assert waited >= LIMITS.request_seconds or len(others) >= LIMITS.max_loaded_models
        elif hasattr(told, "body"):
            assert isinstance(told, Reply)
            assert told.body == b"answer to " + asked.name, "another's answer"
            assert told.body in self.ledger.said[asked.name], "an answer that nobody gave"

    def waits(self, of: ModelKey) -> bool:
        return any(asked.name.startswith(of.name.encode()) for asked in self.unanswered())

    def allow_of(self, of: ModelKey, kind: type[BaseException]) -> None:
        for asked in self.asked:
            if asked.name.startswith(of.name.encode()) and not asked.checked:
                asked.allowed.add(kind)

    @staticmethod
    def is_of(asked: Asked | None, *, done: bool) -> bool:
        return asked is not None and asked.task.done() == done

    def reloaded(self) -> set[ModelKey]:
        return {of for of, asked in self.loads.items() if not asked.checked}

    # The end

    def teardown(self) -> None:
        with self.house:
            if hasattr(self, "pool"):
                self.come_to_rest()
                self.end()

    def come_to_rest(self) -> None:
        """Every process answers: everybody hears."""
        for _ in range(200):
            self.play_on()
            self.all_in_order()
            self.loop.wait(0.3)
            self.settled()
            if not self.unanswered():
                self.all_in_order()
                return
        pytest.fail(f"{[asked.name for asked in self.unanswered()]} wait")

    def end(self) -> None:
        """It closes in a moment, and nothing is left."""
        self.ledger.judge()
        if self.closing is None:
            self.begin_to_close(60.0)
        assert self.closing is not None
        for _ in range(10):
            self.play_on()
            self.loop.wait(1.0)
        self.closing.result()
        self.loop.wait(1.0)
        assert not self.stage.alive
        assert not self.pool.statuses()
        assert all(files.entered == files.left for files in self.files.values())
        assert not asyncio.all_tasks(self.loop)
        assert not self.loop.timers()
        assert not self.loop.raised


TestCompany = Company.TestCase
TestCompany.settings = effort(40, 25)
