"""Proves which models are evicted for others and for being idle, and which stay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.workers.conftest import LiveLimits, load
from tests.workers.pool.calls import COMMANDS, SUMS, TENS, command, ended, predict, running, worker_pid
from workers.errors import CapacityExceeded

if TYPE_CHECKING:
    from tests.workers.pool.calls import Lookup, Opened


async def test_the_least_recently_used_model_is_evicted(opened: Opened, files: Lookup) -> None:
    """The number of loaded models is bounded; the one with the latest request stays."""
    async with opened(max_loaded_models=2) as pool:
        sums = files("sums")
        await load(pool, sums)
        await load(pool, files("tens"))
        await load(pool, files("commands"))
        assert not pool.is_loaded(SUMS)
        assert sums.left == 1
        assert pool.is_loaded(TENS)
        assert pool.is_loaded(COMMANDS)


async def test_pinned_and_busy_models_stay(opened: Opened, files: Lookup) -> None:
    """A load waits for a busy model to be idle; if all models are pinned it fails."""
    async with opened(max_loaded_models=2) as pool:
        pool.pin(SUMS)
        await load(pool, files("sums"))
        await load(pool, files("commands"))
        busy = asyncio.create_task(predict(pool, "commands", command("sleep 1")))
        await running(pool)
        await load(pool, files("tens"))
        assert busy.done()
        await busy
        assert not pool.is_loaded(COMMANDS)
        pool.pin(TENS)
        with pytest.raises(CapacityExceeded):
            await load(pool, files("commands"))
        pool.unpin(TENS)
        await load(pool, files("commands"))
        assert pool.is_loaded(SUMS)


async def test_a_load_waits_for_a_slot_as_long_as_a_request_may(opened: Opened, files: Lookup) -> None:
    """If the only model stays busy, the load fails after that time, and the busy model is not harmed."""
    limits = LiveLimits(max_loaded_models=1)
    async with opened(limits) as pool:
        await load(pool, files("commands"))
        busy = asyncio.create_task(predict(pool, "commands", command("sleep 2")))
        await running(pool)
        limits.set(max_loaded_models=1, request_seconds=0.2)
        with pytest.raises(CapacityExceeded, match="All 1 models"):
            await load(pool, files("sums"))
        assert await busy


async def test_idle_models_are_evicted(opened: Opened, files: Lookup) -> None:
    """The process of a model without requests ends; a pinned model stays."""
    limits = LiveLimits(idle_seconds=0)
    async with opened(limits) as pool:
        pool.pin(SUMS)
        await load(pool, files("sums"))
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        limits.set(idle_seconds=0.1)
        pool.notify_limits_changed()
        await ended(pid)
        assert pool.status(COMMANDS).state == "cold"
        assert pool.is_loaded(SUMS)
