"""Proves how loads end: in a slot that is reserved first, with files that are released again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support import models
from tests.support.waiting import until
from tests.workers.conftest import NO_WALL, Files, key, load
from tests.workers.pool.calls import ADD, COMMANDS, SUMS, worker_pid
from workers.errors import CapacityExceeded, ModelLoadError, ModelNotLoaded, PoolClosed
from workers.metrics import MODEL_LOADS, MODEL_UNLOADS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.pool.calls import Lookup, Opened


async def test_a_loaded_version_cannot_be_loaded_twice(opened: Opened, files: Lookup) -> None:
    """A second reservation is an error, and the loaded version keeps its worker."""
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        with pytest.raises(ValueError, match="has a slot already"):
            async with pool.reserve(COMMANDS):
                raise AssertionError("it is reserved")
        assert await worker_pid(pool) == pid
        assert pool.statuses().keys() == {COMMANDS}


async def test_a_slot_is_held_while_files_are_fetched(opened: Opened, files: Lookup) -> None:
    """Another version finds no slot until the reservation ends; ended without a load, it leaves nothing."""
    async with opened(max_loaded_models=1) as pool:
        async with pool.reserve(SUMS):
            assert pool.status(SUMS).state == "loading"
            other = asyncio.create_task(load(pool, files("commands")))
            await asyncio.sleep(0.1)
            assert not other.done()
        await other
        assert pool.status(SUMS).state == "cold"
        assert pool.counters.value(MODEL_LOADS, "sums", "1", "failed") == 0


@pytest.mark.parametrize("error", [OSError("no files"), asyncio.CancelledError()])
async def test_a_fetch_that_fails_frees_the_slot(opened: Opened, files: Lookup, error: BaseException) -> None:
    """An error or a cancellation between reservation and load leaves slot and version as they were."""
    async with opened(max_loaded_models=1) as pool:
        with pytest.raises(type(error)):
            async with pool.reserve(SUMS):
                raise error
        assert pool.status(SUMS).state == "cold"
        await load(pool, files("sums"))
        assert pool.is_loaded(SUMS)


@pytest.mark.parametrize(
    ("how", "reason", "seconds"),
    [
        ("raise", "RuntimeError", 60.0),
        ("import", "a_missing_package", 60.0),
        ("die", "process ended", 60.0),
        ("hang", "longer than", 2.0),
    ],
)
async def test_a_failed_load_says_why(
    opened: Opened, files: Lookup, how: str, reason: str, seconds: float
) -> None:
    """However a load fails, the error has the reason and no path, and no process is left."""
    async with opened(load_seconds=seconds) as pool:
        broken = files(how)
        with pytest.raises(ModelLoadError, match=reason) as failed:
            await load(pool, broken)
        assert "/secret" not in str(failed.value)
        assert broken.left == 1
        status = pool.status(key(how))
        assert status.state == "failed"
        assert status.reason == str(failed.value)
        with pytest.raises(ModelNotLoaded):
            await pool.predict(key(how), ADD)


async def test_a_failed_load_is_remembered_briefly(opened: Opened, tmp_path: Path) -> None:
    """A broken model is not loaded for every request, and is loaded again after the pause."""
    flaky = Files(key("flaky"), models.save(tmp_path / "m", models.Broken(f"once {tmp_path / 'mark'}")))
    async with opened(load_retry_seconds=1.0, wall=NO_WALL) as pool:
        for _ in range(3):
            with pytest.raises(ModelLoadError):
                await load(pool, flaky)
        assert flaky.entered == 1
        await until(lambda: pool.status(flaky.key).state == "cold")
        await load(pool, flaky)
        assert pool.status(flaky.key).state == "warm"


async def test_a_cancelled_load_leaves_no_process(opened: Opened, files: Lookup) -> None:
    """A caller that gives up on a load that hangs leaves no worker, no slot and no lease behind."""
    async with opened() as pool:
        hanging = files("hang")
        call = asyncio.create_task(load(pool, hanging))
        await until(lambda: hanging.entered == 1)
        await asyncio.sleep(0.5)  # so that the worker's process runs, most likely
        assert pool.status(key("hang")).state == "loading"
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert hanging.left == 1
        assert pool.status(key("hang")).state == "cold"


async def test_a_load_that_ends_after_closing_began(opened: Opened, files: Lookup) -> None:
    """The version is unloaded, its files are released, and the caller gets PoolClosed."""
    async with opened() as pool:
        sums = files("sums")
        async with AsyncExitStack() as stack, pool.reserve(SUMS) as reservation:
            source = await stack.enter_async_context(sums())
            closing = asyncio.create_task(pool.close(drain_seconds=0))
            await asyncio.sleep(0)
            with pytest.raises(PoolClosed):
                await reservation.load(source, stack)
        await closing
        await until(lambda: sums.left == 1)
        assert not pool.statuses()
        assert pool.counters.value(MODEL_UNLOADS, "sums", "1", "shutdown") == 1


async def test_a_load_that_gives_its_memory_back_is_repeated_with_the_same_files(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are leased once for all attempts; after three the caller gets CapacityExceeded."""
    answers: list[bool] = []

    async def fit_memory(*_: object) -> bool:
        return answers.pop(0)

    async with opened() as pool:
        monkeypatch.setattr(pool._loader._allocator, "fit_memory", fit_memory)
        for answers[:], loaded in (([False, True], True), ([False] * 3, False)):
            sums = files("sums")
            if loaded:
                await load(pool, sums)
                assert (sums.entered, sums.left) == (1, 0)
                await pool.unload(SUMS)
            else:
                with pytest.raises(CapacityExceeded):
                    await load(pool, sums)
            assert not answers
            assert (sums.entered, sums.left) == (1, 1)
            assert not pool.statuses()
