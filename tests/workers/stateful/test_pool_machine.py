"""A pool with scripted processes: models come and go, and each request gets its own outcome."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.workers.conftest import Files, key, load
from tests.workers.stateful.effort import effort
from tests.workers.stateful.scripted_machine import ITERATIONS, PAUSES, ScriptedMachine
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
from workers.metrics import MODEL_UNLOADS
from workers.pool.pool import Pool
from workers.protocol.messages import Job, ModelKey, Reply

if TYPE_CHECKING:
    from tests.workers.stateful.ledger import ClientRequest

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


class PoolMachine(ScriptedMachine):
    """Four models share two slots: they are loaded, used, pinned, unloaded, lost and evicted."""

    def __init__(self) -> None:
        super().__init__()
        self.files = {model: Files(model, Path("/nowhere")) for model in KEYS}
        self.loads: dict[ModelKey, ClientRequest] = {}
        self.pinned: set[ModelKey] = set()
        self.was_warm: set[ModelKey] = set()
        self.lost_counts = dict.fromkeys(KEYS, 0)
        self.closing: asyncio.Task[None] | None = None

    @initialize(models=st.lists(MODELS, unique=True, min_size=1, max_size=2))
    def begin(self, models: list[ModelKey]) -> None:
        """Some models are loaded."""
        self.pool = self.loop.run(self.open_pool())
        for model in models:
            self.load_model(model, 0, True)

    @staticmethod
    async def open_pool() -> Pool:
        pool = Pool(lambda: LIMITS)
        await pool.open()
        return pool

    # What clients do

    @rule(model=MODELS, iterations=ITERATIONS, waits=st.sampled_from([True, True, False]))
    def load_model(self, model: ModelKey, iterations: int, waits: bool) -> None:
        """A model is loaded, unless it is being loaded; its start goes as scripted."""
        if model not in self.loads or self.loads[model].task.done():
            request = self.start_client(b"load " + model.name.encode(), load(self.pool, self.files[model]))
            request.allowed |= {ModelLoadError, SystemResourcesExhausted, CapacityExceeded}
            self.loads[model] = request
            if self.closing is not None:
                request.allowed.add(PoolClosed)
        if waits:
            self.loop.advance(1.1)  # until a model that was just loaded may be evicted
            self.forget_heard()
        self.spin(iterations)

    @rule(
        model=MODELS,
        any_warm=st.sampled_from([True, True, True, False]),
        count=st.integers(1, 3),
        iterations=ITERATIONS,
    )
    def predict(self, model: ModelKey, any_warm: bool, count: int, iterations: int) -> None:
        """Some clients ask for predictions; a model that is loaded does not answer that it is not."""
        self.loop.spin(1)  # an unload that was asked for begins before
        if any_warm and not self.pool.is_loaded(model):
            model = next(filter(self.pool.is_loaded, KEYS), model)
        warm = self.pool.is_loaded(model)
        for _ in range(count):
            name = self.create_name(model.name)
            request = self.start_client(name, self.pool.predict(model, Job(name)))
            if self.closing is not None:
                request.allowed.add(PoolClosed)
            if not warm:
                request.allowed.add(ModelNotLoaded)
            elif len(self.unanswered()) > LIMITS.max_queue:
                request.allowed.add(QueueFull)
        self.spin(1 + iterations)

    @rule(model=MODELS, really=st.sampled_from([False, False, True]), iterations=ITERATIONS)
    def unload(self, model: ModelKey, really: bool, iterations: int) -> None:
        """A model is unloaded, unless it is pinned, after its last reply or the time of a request."""
        if not really:
            return
        request = self.start_client(b"unload " + model.name.encode(), self.pool.unload(model))
        if model in self.pinned:
            request.allowed.add(ModelPinned)
        else:
            self.was_warm.discard(model)
            self.allow_for(model, PoolClosed)
        self.spin(iterations)

    @rule(model=MODELS)
    def pin_or_unpin(self, model: ModelKey) -> None:
        """A pinned model stays loaded."""
        if model in self.pinned:
            self.pinned.discard(model)
            self.pool.unpin(model)
        else:
            self.loop.spin(1)  # an unload that was asked for begins before
            self.was_warm = {each for each in KEYS if self.pool.is_loaded(each)}
            self.pinned.add(model)
            self.pool.pin(model)

    @rule(seconds=st.one_of(PAUSES, st.just(70.0)))
    def wait(self, seconds: float) -> None:
        """Time passes; a model without requests is evicted."""
        idle = {
            model
            for model in KEYS
            if self.pool.is_loaded(model) and not self.has_requests(model) and model not in self.pinned
        }
        self.loop.advance(seconds)
        self.forget_heard()
        for model in idle if seconds > LIMITS.idle_seconds else ():
            if not self.is_loading(model) and model not in self.just_loaded():
                assert not self.pool.is_loaded(model), "it has no requests, and is not evicted"

    @precondition(lambda self: self.closing is None)
    @rule(
        drain_seconds=st.sampled_from([0.0, 1.0, 30.0]),
        really=st.sampled_from([False] * 15 + [True]),
        iterations=ITERATIONS,
    )
    def close(self, drain_seconds: float, really: bool, iterations: int) -> None:
        """The pool is closed; seldom, since nothing happens after that."""
        if really:
            self.start_close(drain_seconds)
        self.spin(iterations)

    def start_close(self, drain_seconds: float) -> None:
        self.allow(PoolClosed)
        self.closing = self.loop.create_task(self.pool.close(drain_seconds=drain_seconds))

    @invariant()
    def everything_is_right(self) -> None:
        """The limit is kept, a pinned model stays, and each client gets its own outcome."""
        self.allow_errors_of_lost_models()
        for request in self.requests:
            if request.task.done() and not request.checked:
                self.check(request)
        assert not self.loop.errors, self.loop.errors
        assert not self.forkserver.logged_exceptions, self.forkserver.logged_exceptions
        statuses = self.pool.statuses()
        assert len(statuses) <= LIMITS.max_loaded_models
        warm = {model for model, status in statuses.items() if status.state == "warm"}
        if self.closing is None:
            assert self.was_warm & self.pinned <= warm, "it is pinned, and was unloaded"
        self.was_warm = warm
        for model, files in self.files.items():
            assert files.left <= files.entered
            assert files.entered - files.left >= (model in warm), "its files were released before it ended"

    # The model of it

    def allow_errors_of_lost_models(self) -> None:
        """Allow errors to the requests of a model whose last worker was lost."""
        for model in KEYS:
            count = self.pool.counters.value(MODEL_UNLOADS, model.name, model.version, "failed")
            if count > self.lost_counts[model]:
                self.lost_counts[model] = count
                self.was_warm.discard(model)
                self.allow_for(model, PoolClosed)
                self.allow_for(model, ModelLoadError)

    def check(self, request: ClientRequest) -> None:
        outcome = self.ledger.check(request, self.loop.time(), request_seconds=LIMITS.request_seconds)
        if isinstance(outcome, CapacityExceeded):
            waited = self.loop.time() - request.since
            assert waited >= LIMITS.request_seconds or len(self.pinned) >= LIMITS.max_loaded_models
        elif hasattr(outcome, "body"):
            assert isinstance(outcome, Reply)
            assert outcome.body == b"answer to " + request.name, "the reply to another request"
            assert outcome.body in self.ledger.replies[request.name], "a reply that no process sent"

    def has_requests(self, model: ModelKey) -> bool:
        return any(request.name.startswith(model.name.encode()) for request in self.unanswered())

    def allow_for(self, model: ModelKey, error: type[BaseException]) -> None:
        """Allow the requests of a model to end with an error."""
        for request in self.requests:
            if request.name.startswith(model.name.encode()) and not request.checked:
                request.allowed.add(error)

    def is_loading(self, model: ModelKey) -> bool:
        request = self.loads.get(model)
        return request is not None and not request.task.done()

    def just_loaded(self) -> set[ModelKey]:
        return {model for model, request in self.loads.items() if not request.checked}

    # The end

    def teardown(self) -> None:
        with self.resources:
            if hasattr(self, "pool"):
                self.finish_requests()
                self.check_close()

    def finish_requests(self) -> None:
        """Let every process reply: each client gets its outcome."""
        for _ in range(200):
            self.let_all_reply()
            self.everything_is_right()
            self.loop.advance(0.3)
            self.forget_heard()
            if not self.unanswered():
                self.everything_is_right()
                return
        pytest.fail(f"{[request.name for request in self.unanswered()]} wait")

    def check_close(self) -> None:
        """The pool closes in a few seconds, and leaves no process, file, task or timer."""
        self.ledger.check_crash_reports()
        if self.closing is None:
            self.start_close(60.0)
        assert self.closing is not None
        for _ in range(10):
            self.let_all_reply()
            self.loop.advance(1.0)
        self.closing.result()
        self.loop.advance(1.0)
        assert not self.forkserver.alive
        assert not self.pool.statuses()
        assert all(files.entered == files.left for files in self.files.values())
        assert not asyncio.all_tasks(self.loop)
        assert not self.loop.timers()
        assert not self.loop.errors


TestPool = PoolMachine.TestCase
TestPool.settings = effort(40, 25)
