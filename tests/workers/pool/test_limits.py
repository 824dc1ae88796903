"""Proves that an open pool applies changed limits, and knows whether processes can be started."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tests.support.waiting import until
from tests.workers.conftest import LiveLimits, key, load
from tests.workers.pool.calls import ADD, COMMANDS, SUMS, command, predict, running, worker_pid
from workers.spawn_health import SpawnHealth

if TYPE_CHECKING:
    import pytest

    from tests.workers.pool.calls import Lookup, Opened


async def test_a_shorter_idle_time_applies_at_once(opened: Opened, files: Lookup) -> None:
    """It applies to a model that was never to be unloaded before."""
    limits = LiveLimits(idle_seconds=0)
    async with opened(limits) as pool:
        await load(pool, files("sums"))
        limits.set(idle_seconds=0.1)
        pool.notify_limits_changed()
        await until(lambda: not pool.is_loaded(SUMS))


async def test_a_lower_number_of_models_applies_at_once(opened: Opened, files: Lookup) -> None:
    """Surplus models are evicted, the least recently used first; a busy one once it is idle."""
    limits = LiveLimits(max_loaded_models=3)
    async with opened(limits) as pool:
        for name in ("commands", "sums", "tens"):
            await load(pool, files(name))
        await worker_pid(pool)
        for name in ("sums", "tens"):
            await predict(pool, name, ADD)
        busy = asyncio.create_task(predict(pool, "commands", command("sleep 1.5")))
        await running(pool)
        limits.set(max_loaded_models=1)
        pool.notify_limits_changed()
        await until(lambda: pool.statuses().keys() == {COMMANDS})
        await busy
        pool.pin(COMMANDS)
        limits.set(max_loaded_models=2)
        pool.notify_limits_changed()
        await load(pool, files("tens"))
        limits.set(max_loaded_models=1)
        pool.notify_limits_changed()
        await until(lambda: pool.statuses().keys() == {COMMANDS})


async def test_a_waiting_load_sees_a_higher_number_of_models(opened: Opened, files: Lookup) -> None:
    """A load that waits for a slot gets one as soon as the limit is raised."""
    limits = LiveLimits(max_loaded_models=1)
    async with opened(limits) as pool:
        await load(pool, files("commands"))
        busy = asyncio.create_task(predict(pool, "commands", command("sleep 30")))
        await running(pool)
        waiting = asyncio.create_task(load(pool, files("sums")))
        await asyncio.sleep(0.1)
        assert key("sums") not in pool.statuses()
        limits.set(max_loaded_models=2)
        pool.notify_limits_changed()
        await waiting
        assert not busy.done()
        busy.cancel()


async def test_eviction_goes_on_after_an_error(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After an error in one look at the idle models there is a next look."""
    limits = LiveLimits(idle_seconds=0)
    async with opened(limits) as pool:
        await load(pool, files("sums"))
        with monkeypatch.context() as broken:
            broken.setattr(pool._slots, "least_recently_used", lambda: 1 // 0)
            limits.set(idle_seconds=0.1)
            pool.notify_limits_changed()
            await until(lambda: bool(caplog.records))
        await until(lambda: not pool.is_loaded(SUMS))
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info is not None


async def test_a_probe_start(opened: Opened) -> None:
    """A probe starts a process that does nothing, and its success clears earlier failures."""
    async with opened() as pool:
        pool.spawn_health.record(succeeded=False)
        assert pool.spawn_health.failing.is_set()
        async with asyncio.timeout(60):
            await pool.probe_spawn()
        assert not pool.spawn_health.failing.is_set()
        assert (pool.spawn_health.failures, pool.spawn_health.failing_seconds) == (0, 0.0)


def test_failed_starts_in_a_row_are_counted() -> None:
    """The count starts again after a start that succeeded."""
    health = SpawnHealth()
    for _ in range(3):
        health.record(succeeded=False)
    assert health.failures == 3
    health.record(succeeded=True)
    health.record(succeeded=False)
    assert health.failures == 1
