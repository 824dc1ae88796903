"""Proves what a pool over real processes answers: predictions, errors, and the end of both when it closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.models import body
from tests.workers.conftest import Files, key, load
from tests.workers.pool.calls import ADD, COMMANDS, SUMS, command, ended, predict, running, worker_pid
from workers.errors import InvalidInput, ModelError, PoolClosed, QueueFull, UnsupportedMediaType
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.pool.calls import Lookup, Opened


async def test_predicts(opened: Opened, files: Lookup) -> None:
    """A loaded model answers and says how long it took; its files are in use until it is unloaded."""
    async with opened() as pool:
        assert pool.status(SUMS).state == "cold"
        sums = files("sums")
        await load(pool, sums)
        assert pool.is_loaded(SUMS)
        assert pool.status(SUMS).workers == 1
        reply = await pool.predict(SUMS, ADD)
        assert orjson.loads(reply.body) == [11.0, 22.0]
        assert reply.seconds > 0
        assert (sums.entered, sums.left) == (1, 0)
    assert sums.left == 1


async def test_two_models_with_equal_bodies_never_meet(opened: Opened, files: Lookup) -> None:
    """Nothing is keyed by the payload: each request gets its own model's answer."""
    async with opened() as pool:
        await asyncio.gather(*(load(pool, files(name)) for name in ("sums", "tens")))
        names = ["sums", "tens"] * 100
        answers = await asyncio.gather(*(predict(pool, name, ADD) for name in names))
        assert answers == [[11.0, 22.0], [110.0, 220.0]] * 100


async def test_a_recreated_version_is_another_model(
    opened: Opened, files: Lookup, folders: dict[str, Path]
) -> None:
    """The fingerprint is part of the key: a recreated version 1 is not the deleted one."""
    recreated = Files(key("sums", "new"), folders["tens"])
    async with opened() as pool:
        await load(pool, files("sums"))
        await load(pool, recreated)
        assert await predict(pool, "sums", ADD) == [11.0, 22.0]
        reply = await pool.predict(recreated.key, ADD)
        assert orjson.loads(reply.body) == [110.0, 220.0]


async def test_every_worker_is_warm(opened: Opened, files: Lookup) -> None:
    """With two workers both have the model loaded, and both work at the same time."""
    async with opened(workers_per_model=2) as pool:
        await load(pool, files("commands"))
        assert pool.status(COMMANDS).workers == 2
        slow = [predict(pool, "commands", command("sleep 0.5", "x")) for _ in range(2)]
        pids = await asyncio.gather(*slow)
        assert pids[0] != pids[1]


async def test_each_failure_has_its_own_error(opened: Opened, files: Lookup) -> None:
    """An invalid body, an unknown media type, and a model that raises are three errors."""
    async with opened() as pool:
        await load(pool, files("commands"))
        with pytest.raises(InvalidInput) as invalid:
            await pool.predict(COMMANDS, Job(body(do=[1])))
        assert invalid.value.details[0].column == "do"
        with pytest.raises(UnsupportedMediaType):
            await pool.predict(COMMANDS, Job(b"", "text/plain"))
        with pytest.raises(ModelError) as failed:
            await pool.predict(COMMANDS, command("raise trouble"))
        assert failed.value.exception == "ValueError"
        assert "/secret" not in str(failed.value)
        assert "/secret" in failed.value.text
        assert "Traceback" in failed.value.log


async def test_a_model_that_exits_does_not_end_its_worker(opened: Opened, files: Lookup) -> None:
    """SystemExit from a model's code fails that request, and the process goes on."""
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        with pytest.raises(ModelError):
            await pool.predict(COMMANDS, command("exit"))
        assert await worker_pid(pool) == pid


async def test_one_bad_body_fails_alone(opened: Opened, files: Lookup) -> None:
    """Of the bodies that travel in one batch only the bad ones fail."""
    async with opened() as pool:
        await load(pool, files("commands"))
        jobs = [command("raise x") if number % 10 == 3 else command("x") for number in range(50)]
        replies = await asyncio.gather(*(pool.predict(COMMANDS, job) for job in jobs), return_exceptions=True)
        failed = [number for number, reply in enumerate(replies) if isinstance(reply, ModelError)]
        assert failed == [3, 13, 23, 33, 43]
        assert sum(isinstance(reply, BaseException) for reply in replies) == len(failed)


async def test_cancelled_requests_leave_the_others_answered(opened: Opened, files: Lookup) -> None:
    """A request that is cancelled while it waits or runs takes no other request with it."""
    async with opened() as pool:
        await load(pool, files("commands"))
        calls = [asyncio.create_task(predict(pool, "commands", command("sleep 0.3", "x")))]
        await running(pool)
        calls += [asyncio.create_task(predict(pool, "commands", command("x"))) for _ in range(5)]
        await asyncio.sleep(0)
        for cancelled in (calls[0], calls[2]):
            cancelled.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        failed = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
        assert failed == [0, 2]
        assert await predict(pool, "commands", command("x"))


async def test_a_full_queue_rejects_at_once(opened: Opened, files: Lookup) -> None:
    """A request beyond the limit fails at once; the admitted ones are answered."""
    async with opened(max_queue=3) as pool:
        await load(pool, files("commands"))
        first = asyncio.create_task(predict(pool, "commands", command("sleep 0.5")))
        await running(pool)
        waiting = [asyncio.create_task(predict(pool, "commands", command("x"))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await predict(pool, "commands", command("x"))
        assert len(await asyncio.gather(first, *waiting)) == 4


async def test_closing_answers_what_runs_and_rejects_the_rest(opened: Opened, files: Lookup) -> None:
    """Within the time to drain, requests are answered; later ones and later loads fail."""
    async with opened() as pool:
        await load(pool, files("commands"))
        calls = [asyncio.create_task(predict(pool, "commands", command("sleep 0.1"))) for _ in range(5)]
        await running(pool)
        await pool.close(drain_seconds=60)
        assert len(await asyncio.gather(*calls)) == 5
        with pytest.raises(PoolClosed):
            await pool.predict(COMMANDS, command("x"))
        with pytest.raises(PoolClosed):
            await load(pool, files("sums"))


async def test_closing_without_time_ends_what_runs(opened: Opened, files: Lookup) -> None:
    """Every request gets PoolClosed, and no process is left."""
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        calls = [asyncio.create_task(predict(pool, "commands", command("sleep 30"))) for _ in range(5)]
        await running(pool)
        await pool.close(drain_seconds=0)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, PoolClosed) for outcome in outcomes)
        await ended(pid)
