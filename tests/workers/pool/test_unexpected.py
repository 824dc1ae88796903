"""Proves that unexpected errors of background work are reported to the event loop, and that work goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import until
from tests.workers.conftest import Files, load
from tests.workers.pool.calls import SUMS, TENS
from workers.pool.eviction import Evictor
from workers.scheduler.worker_group import WorkerGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.workers.pool.calls import Lookup, Opened
    from workers.protocol.messages import ModelSource


@pytest.fixture
async def reported() -> AsyncIterator[Callable[[str], bool]]:
    """A check whether the event loop was given an error with this text; in the end, no other error was."""
    errors: list[str] = []

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors.append(str(context["exception"]))

    asyncio.get_running_loop().set_exception_handler(handle)
    yield errors.__contains__
    assert set(errors) == {"unexpected"}


class UnreleasableFiles(Files):
    """Files whose lease raises when it ends."""

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[ModelSource]:
        async with super().__call__() as source:
            yield source
        raise OSError("unexpected")


async def test_files_that_cannot_be_released(
    opened: Opened, files: Lookup, folders: dict[str, Any], reported: Callable[[str], bool]
) -> None:
    """The model is unloaded all the same, and can be loaded again."""
    async with opened() as pool:
        await load(pool, UnreleasableFiles(SUMS, folders["sums"]))
        with pytest.raises(OSError, match="unexpected"):
            await pool.unload(SUMS)
        assert reported("unexpected")
        await load(pool, files("sums"))
        assert pool.is_loaded(SUMS)


async def test_a_replacement_that_fails_unexpectedly(
    opened: Opened, files: Lookup, reported: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other models are served, and the pool closes in order."""

    async def fail(_: WorkerGroup, **__: float) -> None:
        raise OSError("unexpected")

    monkeypatch.setattr(WorkerGroup, "_replace_worker", fail)
    async with opened() as pool:
        await load(pool, files("sums"))
        os.kill(pool._slots.loaded[SUMS].group.pids[0], signal.SIGKILL)
        await until(lambda: reported("unexpected"))
        await load(pool, files("tens"))
        assert pool.is_loaded(TENS)


async def test_an_eviction_loop_that_fails(
    opened: Opened, files: Lookup, reported: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop is started again, and evicts idle models."""
    starts: Iterator[int] = iter(range(100))
    evict_idle = Evictor.evict_idle_forever

    async def fail_at_first(evictor: Evictor) -> None:
        if next(starts) < 2:
            raise OSError("unexpected")
        await evict_idle(evictor)

    monkeypatch.setattr(Evictor, "evict_idle_forever", fail_at_first)
    async with opened(idle_seconds=0.3) as pool:
        await load(pool, files("sums"))
        await until(lambda: not pool.is_loaded(SUMS))
        assert reported("unexpected")
