"""Errors of the pool's own work, which nobody awaits: the loop is told, to count them, and all goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import until
from tests.workers.conftest import Files, key
from workers.pool import pool as pools
from workers.pool.slots import ModelSlots
from workers.scheduler.worker_group import WorkerGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from workers.pool.pool import Pool
    from workers.protocol.messages import ModelSource

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]
    Lookup = Callable[[str], Files]

SUMS = key("sums")


@pytest.fixture
async def told() -> AsyncIterator[Callable[[str], bool]]:
    """Whether the loop was told of an error with these words; of no other one, in the end."""
    errors: list[str] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors.append(str(context["exception"]))

    asyncio.get_running_loop().set_exception_handler(note)
    yield errors.__contains__
    assert set(errors) == {"unexpected"}


async def test_files_that_cannot_be_given_back(
    opened: Opened, files: Lookup, told: Callable[[str], bool]
) -> None:
    """The model is unloaded all the same, and can be loaded again."""

    @asynccontextmanager
    async def not_given_back() -> AsyncIterator[ModelSource]:
        async with files("sums")() as source:
            yield source
        raise OSError("unexpected")

    async with opened() as pool:
        await pool.load(SUMS, not_given_back())
        with pytest.raises(OSError, match="unexpected"):
            await pool.unload(SUMS)
        assert told("unexpected")
        await pool.load(SUMS, files("sums")())
        assert pool.is_loaded(SUMS)


async def test_a_replacement_that_fails_unexpectedly(
    opened: Opened, files: Lookup, told: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are served; the pool closes in order."""

    async def no_replacement(_: WorkerGroup, **__: float) -> None:
        raise OSError("unexpected")

    monkeypatch.setattr(WorkerGroup, "_replace_worker", no_replacement)
    async with opened() as pool:
        await pool.load(SUMS, files("sums")())
        os.kill(pool._slots.loaded[SUMS].group.pids[0], signal.SIGKILL)
        await until(lambda: told("unexpected"))
        await pool.load(key("tens"), files("tens")())
        assert pool.is_loaded(key("tens"))


async def test_a_look_for_idle_models_that_fails(
    opened: Opened, files: Lookup, told: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is begun again, and finds them."""
    looks: Iterator[int] = iter(range(100))
    look = ModelSlots.evict_idle_forever

    async def failing_at_first(places: ModelSlots) -> None:
        if next(looks) < 2:
            raise OSError("unexpected")
        await look(places)

    monkeypatch.setattr(pools, "_RESTART_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(ModelSlots, "evict_idle_forever", failing_at_first)
    async with opened(idle_seconds=0.3) as pool:
        await pool.load(SUMS, files("sums")())
        await until(lambda: not pool.is_loaded(SUMS))
        assert told("unexpected")
