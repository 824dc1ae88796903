"""Proves that a pool goes by other limits once it has them, and knows whether processes can be started."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tests.support import models
from tests.support.waiting import until
from tests.workers.conftest import key
from workers.limits import PoolLimits
from workers.protocol.messages import Job
from workers.spawn_health import SpawnHealth

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import pytest

    from tests.workers.conftest import Files
    from workers.pool.pool import Pool

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]
    Lookup = Callable[[str], Files]

SECONDS = 60.0


async def until_cold(pool: Pool) -> None:
    async with asyncio.timeout(SECONDS):
        while pool.is_loaded(key("sums")):  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.02)


async def test_a_shorter_idle_time_holds_at_once(opened: Opened, files: Lookup) -> None:
    """Also for a model that was to stay for ever."""
    async with opened(idle_seconds=0) as pool:
        await pool.load(key("sums"), files("sums")())
        pool.set_limits(PoolLimits(idle_seconds=0.1))
        await until_cold(pool)


async def test_fewer_models_hold_at_once(opened: Opened, files: Lookup) -> None:
    """Whoever is one too many is unloaded, the least recently used first; who is busy, once it is not."""
    async with opened(max_loaded_models=3) as pool:
        for name in ("commands", "sums", "tens"):
            await pool.load(key(name), files(name)())
        await asyncio.sleep(1.2)  # nobody is awaited any more, who has just been loaded
        busy = asyncio.create_task(pool.predict(key("commands"), Job(models.body(do=["sleep 1.5"]))))
        await asyncio.sleep(0.1)
        pool.set_limits(PoolLimits(max_loaded_models=1))
        await until_cold(pool)
        await until(lambda: pool.statuses().keys() == {key("commands")})
        await busy
        pool.pin(key("commands"))
        pool.set_limits(PoolLimits(max_loaded_models=2))
        await pool.load(key("tens"), files("tens")())
        pool.set_limits(PoolLimits(max_loaded_models=1))
        await until(lambda: pool.statuses().keys() == {key("commands")})


async def test_retiring_goes_on_after_an_error(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong with one look at the idle models, there is a next one."""
    async with opened(idle_seconds=0) as pool:
        await pool.load(key("sums"), files("sums")())
        monkeypatch.setattr("workers.pool.pool._RESTART_DELAY_SECONDS", 0.05)
        with monkeypatch.context() as broken:
            broken.setattr(pool._slots, "least_recently_used", lambda: 1 // 0)
            pool.set_limits(PoolLimits(idle_seconds=0.1))
            async with asyncio.timeout(SECONDS):
                while not caplog.records:  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.02)
        await until_cold(pool)
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info is not None


async def test_a_trial_start(opened: Opened) -> None:
    """A process that does nothing is started, and clears what failed before."""
    async with opened() as pool:
        pool.spawn_health.record(succeeded=False)
        assert pool.spawn_health.failing.is_set()
        async with asyncio.timeout(SECONDS):
            await pool.probe_spawn()
        assert not pool.spawn_health.failing.is_set()
        assert (pool.spawn_health.failures, pool.spawn_health.failing_seconds) == (0, 0.0)


def test_failed_starts_are_counted_in_a_row() -> None:
    """From the first that failed, until one begins."""
    starts = SpawnHealth()
    for _ in range(3):
        starts.record(succeeded=False)
    assert starts.failures == 3
    starts.record(succeeded=True)
    starts.record(succeeded=False)
    assert starts.failures == 1
