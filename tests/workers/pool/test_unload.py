"""Proves that the pool unloads what it is told to, in order, and nothing that is pinned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support import models
from tests.workers.conftest import key
from workers.errors import ModelNotLoaded, ModelPinned, PredictionTimeout
from workers.limits import PoolLimits
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.workers.conftest import Files
    from workers.pool.pool import Pool

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]


async def test_unloaded(files: Callable[[str], Files], opened: Opened) -> None:
    """The version's files are let go, others stay, and what is not loaded is no error."""
    sums, tens = files("sums"), files("tens")
    async with opened() as pool:
        await pool.load(key("sums"), sums())
        await pool.load(key("tens"), tens())
        states = {of: (state.state, state.workers) for of, state in pool.statuses().items()}
        assert states == {key("sums"): ("warm", 1), key("tens"): ("warm", 1)}
        await pool.unload(key("sums"), key("nobody"))
        assert (sums.left, tens.left) == (1, 0)
        assert list(pool.statuses()) == [key("tens")]
        with pytest.raises(ModelNotLoaded):
            await pool.predict(key("sums"), Job(models.body(a=[1.0], b=[2.0])))


async def test_what_was_asked_is_answered(files: Callable[[str], Files], opened: Opened) -> None:
    """A job that runs and one that waits get their replies, though the unloading's caller goes away."""
    async with opened() as pool:
        commands = files("commands")
        await pool.load(key("commands"), commands())
        jobs = [
            asyncio.create_task(pool.predict(key("commands"), Job(models.body(do=["sleep 0.3"]))))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        unloading = asyncio.create_task(pool.unload(key("commands")))
        await asyncio.sleep(0.05)
        assert commands.left == 0
        unloading.cancel()
        replies = await asyncio.gather(*jobs)
        assert len({reply.body for reply in replies}) == 1


async def test_what_has_no_time_left_is_told_so(files: Callable[[str], Files], opened: Opened) -> None:
    """Jobs of a model that hangs run out of time though it is being unloaded; nobody shuts down."""
    async with opened(request_seconds=1.0) as pool:
        await pool.load(key("commands"), files("commands")())
        jobs = [
            asyncio.create_task(pool.predict(key("commands"), Job(models.body(do=["sleep 60"]))))
            for _ in range(3)
        ]
        await asyncio.sleep(0)
        await pool.unload(key("commands"))
        ends = await asyncio.gather(*jobs, return_exceptions=True)
        assert [type(end) for end in ends] == [PredictionTimeout] * 3


async def test_pinned(files: Callable[[str], Files], opened: Opened) -> None:
    """One that is pinned is not unloaded, and neither is what was named with it."""
    async with opened() as pool:
        for name in ("sums", "tens"):
            await pool.load(key(name), files(name)())
        pool.pin(key("tens"))
        with pytest.raises(ModelPinned, match="tens/1"):
            await pool.unload(key("sums"), key("tens"))
        assert len(pool.statuses()) == 2


async def test_a_model_keeps_the_time_that_it_was_loaded_with(
    files: Callable[[str], Files], opened: Opened
) -> None:
    """What it was asked is answered though a request has less time by now."""
    async with opened(request_seconds=20.0) as pool:
        await pool.load(key("commands"), files("commands")())
        asked = asyncio.create_task(pool.predict(key("commands"), Job(models.body(do=["sleep 2.5"]))))
        await asyncio.sleep(0.1)
        pool.set_limits(PoolLimits(request_seconds=0.1))
        await pool.unload(key("commands"))
        assert (await asked).body
