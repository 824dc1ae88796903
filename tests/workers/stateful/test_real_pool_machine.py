"""A pool with real processes that are stopped and killed: no request is lost, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import orjson
import psutil
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.support.models import body
from tests.workers.conftest import Files, key, load
from tests.workers.stateful.effort import effort
from tests.workers.stateful.real_machine import RealMachine
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
KEYS = [key(name) for name in ("commands", "streams", "again")]
MODELS = st.sampled_from(KEYS)
INDEXES = st.integers(0, 1_000)  # modulo the number of those to choose from
COMMANDS = st.sampled_from(["x", "x", "sleep 0.05", "raise", "die"])


class Client:
    """A client's request: its name, its command, and the errors that it may end with.

    `kills` counts the workers that were killed meanwhile: each may have run the request.
    """

    def __init__(self, name: str, command: str, task: asyncio.Task[Reply]) -> None:
        self.name = name
        self.command = command
        self.task = task
        self.allowed: set[type[BaseException]] = set()
        self.kills = 0


class RealPoolMachine(RealMachine):
    """Three models share two slots, and get commands that they survive and that they do not."""

    def __init__(self, folders: dict[str, Path]) -> None:
        super().__init__()
        self.files = {model: Files(model, folders.get(model.name, folders["commands"])) for model in KEYS}
        self.pinned: set[ModelKey] = set()
        self.clients: list[Client] = []
        self.request_count = 0
        self.processes_before = self.processes()

    @initialize()
    def begin(self) -> None:
        """Two models are loaded."""
        self.pool = self.run(self.open_pool())
        self.count_descriptors()
        for model in KEYS[:2]:
            self.load(model)

    @staticmethod
    async def open_pool() -> Pool:
        pool = Pool(lambda: LIMITS)
        await pool.open()
        return pool

    @rule(model=MODELS)
    def load(self, model: ModelKey) -> None:
        """A model is loaded; one that is evicted for it is neither busy nor pinned."""
        needed = {model, *self.pinned}
        try:
            self.run(load(self.pool, self.files[model]))
        except CapacityExceeded:
            assert len(needed) > LIMITS.max_loaded_models
        else:
            assert self.pool.is_loaded(model)

    @rule(model=MODELS, commands=st.lists(COMMANDS, min_size=1, max_size=4))
    def predict(self, model: ModelKey, commands: list[str]) -> None:
        """Some clients ask for predictions at once."""
        warm = self.pool.is_loaded(model)
        for command in commands:
            self.request_count += 1
            name = f"{model.name} {self.request_count}"
            last = f"raise {self.request_count}" if command == "raise" else f"say {name}"
            job = Job(body(do=["x" if command == "raise" else command, last]))
            client = Client(name, command, self.loop.create_task(self.pool.predict(model, job)))
            if not warm:
                client.allowed.add(ModelNotLoaded)
            self.clients.append(client)
        self.run(asyncio.sleep(0))

    @precondition(lambda self: self.waiting())
    @rule(index=INDEXES)
    def cancel_client(self, index: int) -> None:
        """A client is cancelled."""
        client = self.waiting()[index % len(self.waiting())]
        client.allowed.add(asyncio.CancelledError)
        client.task.cancel()

    @rule(index=INDEXES, stops=st.booleans())
    def kill(self, index: int, stops: bool) -> None:
        """A worker is killed, in some cases after it was stopped, so that it cannot reply any more."""
        if workers := self.workers():
            worker = workers[index % len(workers)]
            for client in self.waiting():
                client.kills += 1
            with suppress(ProcessLookupError):  # it ended by itself before
                if stops:
                    os.kill(worker, signal.SIGSTOP)
                    self.run(asyncio.sleep(0.02))
                os.kill(worker, signal.SIGKILL)

    @rule(model=MODELS)
    def unload(self, model: ModelKey) -> None:
        """A model is unloaded after its last reply, unless it is pinned."""
        try:
            self.run(self.pool.unload(model))
        except ModelPinned:
            assert model in self.pinned
        else:
            assert model not in self.pinned
            assert not self.pool.is_loaded(model)

    @rule(model=MODELS)
    def pin_or_unpin(self, model: ModelKey) -> None:
        """A pinned model stays loaded."""
        if model in self.pinned:
            self.pinned.discard(model)
            self.pool.unpin(model)
        else:
            self.pinned.add(model)
            self.pool.pin(model)

    @rule()
    def wait_for_all(self) -> None:
        """Every client gets its outcome."""
        self.run(asyncio.gather(*(client.task for client in self.clients), return_exceptions=True))

    @invariant()
    def everything_is_right(self) -> None:
        """Each client got its own outcome, and no more models are loaded than may be."""
        self.run(asyncio.sleep(0))
        for client in self.clients:
            if client.task.done():
                self.check(client)
        self.clients = self.waiting()
        assert len(self.pool.statuses()) <= LIMITS.max_loaded_models

    def check(self, client: Client) -> None:
        if client.task.cancelled():
            assert asyncio.CancelledError in client.allowed
            return
        error = client.task.exception()
        if error is None:
            assert client.command not in {"raise", "die"}
            assert orjson.loads(client.task.result().body) == [client.name]
        elif isinstance(error, ModelError):
            assert client.command == "raise"
            assert error.text.startswith(client.name.split()[1] + " ")
        elif isinstance(error, WorkerCrashed):
            assert client.command == "die" or client.kills >= 2, "blamed for the crash of another request"
        elif not isinstance(error, PredictionTimeout):
            assert type(error) in client.allowed, error

    def waiting(self) -> list[Client]:
        return [client for client in self.clients if not client.task.done()]

    def workers(self) -> list[int]:
        """Return the ids of the processes that serve, as the pool knows them."""
        groups = [entry.group for entry in self.pool._slots.loaded.values()]
        slots = [slot for group in groups for slot in group.dispatcher.slots]
        return [pid for slot in slots if not slot.worker.dead and (pid := slot.worker.pid)]

    @staticmethod
    def processes() -> set[int]:
        """Return the children of this process' children: without the fork server and Python's own helper."""
        return {
            child.pid for direct in psutil.Process().children() for child in direct.children(recursive=True)
        }

    def teardown(self) -> None:
        with self.runner:
            if hasattr(self, "pool"):
                self.wait_for_all()
                self.everything_is_right()
                self.run(self.pool.close(drain_seconds=30.0))
                assert not self.pool.statuses()
                del self.pool
                self.wait_until_cleaned_up()
        assert all(files.entered == files.left for files in self.files.values())
        assert self.processes() <= self.processes_before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_pool(folders: dict[str, Path]) -> None:
    """The pool stays right whatever clients and operators do, in any order."""
    machine: Any = partial(RealPoolMachine, folders)
    run_state_machine_as_test(machine, settings=effort(3, 8, shrinks=False))
