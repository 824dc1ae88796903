"""A model whose process ends by itself again and again: it is not started for ever, and harms nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support import models
from tests.support.waiting import until
from tests.workers.conftest import Files, key, load
from workers.errors import WorkerCrashed
from workers.metrics import WORKER_DEATHS, WORKER_STARTS
from workers.protocol.messages import Job
from workers.scheduler.worker_group import CrashLoopBackoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from workers.pool.pool import Pool

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]


def test_short_lives_are_paused_for_longer_and_longer() -> None:
    """Up to half a minute; one long life is forgiveness."""
    relapses, now, pauses = CrashLoopBackoff(), 100.0, []
    for _ in range(9):
        pauses.append(relapses.next_delay(started=now, ended=now + 1.0))
        now += 1.0 + pauses[-1]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert relapses.next_delay(started=now, ended=now + 10.0) == 0.0
    assert relapses.next_delay(started=now + 10.0, ended=now + 10.1) == 0.5


def test_workers_that_die_together_are_one_relapse() -> None:
    """However many a model has: who kills them all is not punished for each."""
    relapses = CrashLoopBackoff()
    assert [relapses.next_delay(started=1.0, ended=ended) for ended in (2.0, 2.1, 2.2, 9.0)] == [0.5] * 4
    assert relapses.next_delay(started=2.7, ended=2.8) == 1.0


@pytest.fixture
def frail(tmp_path: Path) -> Files:
    """A model whose process ends by itself a moment after its load."""
    return Files(key("frail"), models.save(tmp_path / "frail", models.Broken("dies 0.2")))


async def test_it_is_started_less_and_less_often(opened: Opened, frail: Files) -> None:
    """Within four seconds no more than four times; whoever asks is not made to wait for the next."""
    async with opened() as pool:
        await load(pool, frail)
        await asyncio.sleep(4.0)
        starts = pool.counters.value(WORKER_STARTS, "frail", "1")
        assert 2 <= starts <= 4
        await until(lambda: not pool.has_warm_models)
        async with asyncio.timeout(10.0):
            reply = await pool.predict(key("frail"), Job(models.body(a=[1.0])))
        assert bytes(reply.body) == b"[1.0]"


async def test_it_becomes_idle_however_often_it_is_started(opened: Opened, frail: Files) -> None:
    """A restart is no request."""
    async with opened(idle_seconds=3.0) as pool:
        await load(pool, frail)
        async with asyncio.timeout(30.0):
            while pool.is_loaded(key("frail")):  # noqa: ASYNC110 - the pool tells nobody
                await asyncio.sleep(0.02)
        assert pool.counters.value(WORKER_DEATHS, "frail", "1", "died") >= 2
        await until(lambda: frail.left == 1)


@pytest.mark.parametrize("deadly", ["die", "quit"])
async def test_who_dies_at_work_is_replaced_at_once(
    opened: Opened, files: Callable[[str], Files], deadly: str
) -> None:
    """However short its life was: who asks is to blame, and the others are not made to wait."""
    async with opened() as pool:
        await load(pool, files("commands"))
        for _ in range(4):
            with pytest.raises(WorkerCrashed):
                await pool.predict(key("commands"), Job(models.body(do=[deadly])))
        assert pool.counters.value(WORKER_DEATHS, "commands", "1", "died") >= 8
        assert pool._slots.loaded[key("commands")].group._crash_backoff.delay == 0.0
        assert (await pool.predict(key("commands"), Job(models.body(do=["x"])))).body
