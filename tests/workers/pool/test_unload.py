"""Proves that the pool unloads what a caller names, in order, and no pinned version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.workers.conftest import LiveLimits, key, load
from tests.workers.pool.calls import ADD, COMMANDS, SUMS, TENS, command, running
from workers.errors import ModelNotLoaded, ModelPinned, PredictionTimeout

if TYPE_CHECKING:
    from tests.workers.pool.calls import Lookup, Opened


async def test_unloaded(opened: Opened, files: Lookup) -> None:
    """The version's files are released, other versions stay, and one that is not loaded is no error."""
    sums, tens = files("sums"), files("tens")
    async with opened() as pool:
        await load(pool, sums)
        await load(pool, tens)
        statuses = {version: (status.state, status.workers) for version, status in pool.statuses().items()}
        assert statuses == {SUMS: ("warm", 1), TENS: ("warm", 1)}
        await pool.unload(SUMS, key("unknown"))
        assert (sums.left, tens.left) == (1, 0)
        assert list(pool.statuses()) == [TENS]
        with pytest.raises(ModelNotLoaded):
            await pool.predict(SUMS, ADD)


async def test_running_and_waiting_requests_are_answered(opened: Opened, files: Lookup) -> None:
    """Both get their replies, though the caller of `unload` is cancelled."""
    async with opened() as pool:
        commands = files("commands")
        await load(pool, commands)
        calls = [asyncio.create_task(pool.predict(COMMANDS, command("sleep 0.5"))) for _ in range(2)]
        await running(pool)
        unload = asyncio.create_task(pool.unload(COMMANDS))
        await asyncio.sleep(0)
        assert not pool.is_loaded(COMMANDS)
        assert commands.left == 0
        unload.cancel()
        replies = await asyncio.gather(*calls)
        assert len({reply.body for reply in replies}) == 1


async def test_requests_time_out_during_an_unload(opened: Opened, files: Lookup) -> None:
    """Requests of a model that hangs get PredictionTimeout, not PoolClosed, while it is unloaded."""
    async with opened(request_seconds=1.0) as pool:
        await load(pool, files("commands"))
        calls = [asyncio.create_task(pool.predict(COMMANDS, command("sleep 60"))) for _ in range(3)]
        await asyncio.sleep(0)
        await pool.unload(COMMANDS)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PredictionTimeout] * 3


async def test_pinned(opened: Opened, files: Lookup) -> None:
    """A pinned version is not unloaded, nor is a version that was named with it."""
    async with opened() as pool:
        for name in ("sums", "tens"):
            await load(pool, files(name))
        pool.pin(TENS)
        with pytest.raises(ModelPinned, match="tens/1"):
            await pool.unload(SUMS, TENS)
        assert len(pool.statuses()) == 2


async def test_a_model_keeps_the_request_time_it_was_loaded_with(opened: Opened, files: Lookup) -> None:
    """Its requests are answered though the limit is shorter by now."""
    limits = LiveLimits()
    async with opened(limits) as pool:
        await load(pool, files("commands"))
        call = asyncio.create_task(pool.predict(COMMANDS, command("sleep 2")))
        await running(pool)
        limits.set(request_seconds=0.1)
        pool.notify_limits_changed()
        await pool.unload(COMMANDS)
        assert (await call).body
