"""A model whose process exits again and again while idle: restarts become rare, and no request suffers."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import models
from tests.support.waiting import until
from tests.workers.conftest import Files, LiveLimits, key, load
from tests.workers.stateful.group_harness import harness
from tests.workers.stateful.scripted_group import scripted_workers
from workers.errors import WorkerCrashed
from workers.metrics import WORKER_EXITS, WORKER_STARTS
from workers.pool.pool import Pool
from workers.protocol.messages import Job, Reply
from workers.scheduler.worker_group import CrashLoopBackoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.workers.stateful.group_harness import GroupHarness

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]

__all__ = ["harness"]

UPTIME_SECONDS = 0.2


def test_the_delay_doubles_with_each_short_life() -> None:
    """It grows to half a minute; one life of ten seconds resets it."""
    backoff, now, delays = CrashLoopBackoff(), 100.0, []
    for _ in range(9):
        delays.append(backoff.next_delay(started_at=now, exited_at=now + 1.0))
        now += 1.0 + delays[-1]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert backoff.next_delay(started_at=now, exited_at=now + 10.0) == 0.0
    assert backoff.next_delay(started_at=now + 10.0, exited_at=now + 10.1) == 0.5


def test_workers_that_exit_together_count_once() -> None:
    """If all workers of a model are killed at once, that is one crash and not several."""
    backoff = CrashLoopBackoff()
    delays = [backoff.next_delay(started_at=1.0, exited_at=exited_at) for exited_at in (2.0, 2.1, 2.2, 9.0)]
    assert delays == [0.5] * 4
    assert backoff.next_delay(started_at=2.7, exited_at=2.8) == 1.0


def test_an_idle_worker_that_exits_is_restarted_less_and_less_often(harness: GroupHarness) -> None:
    """Each delay is twice the one before, and a request that waits makes it half a second."""
    starts = [harness.loop.time()]
    for count in range(1, 5):
        harness.loop.advance(UPTIME_SECONDS)
        harness.loop.call(harness.forkserver.alive[0].die)
        while len(harness.forkserver.started) == count:
            harness.loop.advance(0.01)
        starts.append(harness.loop.time())
    delays = [start - last - UPTIME_SECONDS for last, start in pairwise(starts)]
    assert delays == pytest.approx([0.5, 1.0, 2.0, 4.0], abs=0.1)
    harness.kill_worker()
    client = harness.loop.create_task(harness.group.predict(Job(b"{}")))
    harness.loop.advance(0.6)
    (process,) = harness.forkserver.alive
    assert process.take_batch() == (Job(b"{}"),)
    process.reply([Reply(b"answer", 0.1)], 0.1)
    harness.loop.spin(3)
    assert client.result().body == b"answer"


def test_a_worker_that_exits_while_busy_is_replaced_at_once(harness: GroupHarness) -> None:
    """Its request is to blame, however short its life was, and other requests do not wait for a delay."""
    for count in range(1, 9):
        client = harness.loop.create_task(harness.group.predict(Job(b"{}")))
        harness.loop.advance(0.06)
        (process,) = harness.forkserver.alive
        assert process.take_batch() == (Job(b"{}"),)
        harness.loop.call(process.die)
        harness.loop.spin(5)
        assert len(harness.forkserver.started) == count + 1
        client.cancel()


def test_a_restart_does_not_count_as_use() -> None:
    """A model without requests is unloaded when it is idle, however often its worker is restarted."""

    async def open_pool() -> Pool:
        pool = Pool(LiveLimits(idle_seconds=60.0))
        await pool.open()
        await load(pool, Files(key("frail"), Path("/nowhere")))
        return pool

    with scripted_workers() as (loop, forkserver):
        pool = loop.run(open_pool())
        for _ in range(5):
            loop.advance(11.0)
            loop.call(forkserver.alive[0].die)
        loop.advance(1.0)
        assert pool.counters.value(WORKER_EXITS, "frail", "1", "crash") == 5
        assert pool.is_loaded(key("frail"))
        loop.advance(5.0)
        assert not pool.is_loaded(key("frail"))
        loop.run(pool.close(drain_seconds=0.0))


@pytest.fixture
def frail(tmp_path: Path) -> Files:
    """Return the files of a model whose process exits a moment after its load."""
    return Files(key("frail"), models.save(tmp_path / "frail", models.Broken(f"dies {UPTIME_SECONDS}")))


async def test_a_real_process_in_a_crash_loop(opened: Opened, frail: Files) -> None:
    """It is restarted with the delays, and it serves between them."""
    async with opened() as pool:
        began = time.monotonic()
        await load(pool, frail)
        await until(lambda: pool.counters.value(WORKER_STARTS, "frail", "1") >= 3)
        assert time.monotonic() - began >= 0.5 + 1.0
        await until(lambda: not pool.has_warm_models)
        reply = await pool.predict(key("frail"), Job(models.body(a=[1.0])))
        assert bytes(reply.body) == b"[1.0]"
        assert pool.counters.value(WORKER_EXITS, "frail", "1", "crash") >= 3


@pytest.mark.parametrize("command", ["die", "quit"])
async def test_a_real_process_that_exits_while_busy(
    opened: Opened, files: Callable[[str], Files], command: str
) -> None:
    """Each request that ends its process ends two, and the next request is answered."""
    async with opened() as pool:
        await load(pool, files("commands"))
        for _ in range(4):
            with pytest.raises(WorkerCrashed):
                await pool.predict(key("commands"), Job(models.body(do=[command])))
        assert pool.counters.value(WORKER_EXITS, "commands", "1", "crash") >= 8
        assert (await pool.predict(key("commands"), Job(models.body(do=["x"])))).body
