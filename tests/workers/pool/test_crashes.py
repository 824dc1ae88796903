"""Proves what happens to requests, workers and models when a process of the pool ends or hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.workers.conftest import NO_WALL, load
from tests.workers.pool.calls import (
    ADD,
    COMMANDS,
    SUMS,
    command,
    ended,
    predict,
    running,
    worker_pid,
)
from workers.errors import ModelLoadError, PredictionTimeout, WorkerCrashed
from workers.process import launcher

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.pool.calls import Lookup, Opened
    from workers.process.spawn import Spawn
    from workers.protocol.messages import LoadReport

PATIENT_SECONDS = 600.0  # for the imports of a fork server on a machine that is busy with more than this


async def test_a_request_whose_worker_crashes_is_retried(
    opened: Opened, files: Lookup, tmp_path: Path
) -> None:
    """A request that crashes its worker once is answered by the next, and so are those of its batch."""
    async with opened(wall=NO_WALL) as pool:
        await load(pool, files("commands"))
        first = await worker_pid(pool)
        jobs = [command("x") for _ in range(20)]
        jobs.insert(10, command(f"die_once {tmp_path / 'died'}"))
        pids = await asyncio.gather(*(predict(pool, "commands", job) for job in jobs))
        assert len(pids) == 21
        assert (tmp_path / "died").exists()
        assert await worker_pid(pool) != first


async def test_only_the_crashing_request_fails(opened: Opened, files: Lookup) -> None:
    """A request that crashes two workers gets WorkerCrashed; those of its batch are answered."""
    async with opened() as pool:
        await load(pool, files("commands"))
        jobs = [command("x") for _ in range(40)]
        jobs.insert(20, command("die"))
        replies = await asyncio.gather(*(pool.predict(COMMANDS, job) for job in jobs), return_exceptions=True)
        failed = [number for number, reply in enumerate(replies) if isinstance(reply, BaseException)]
        assert failed == [20]
        assert isinstance(replies[20], WorkerCrashed)


async def test_a_hung_worker_is_replaced_and_the_others_are_served(opened: Opened, files: Lookup) -> None:
    """The hung request times out; a request that waits behind it is answered by the next process."""
    async with opened(request_seconds=4.0) as pool:
        await load(pool, files("commands"))
        first = await worker_pid(pool)
        hung = asyncio.create_task(predict(pool, "commands", command("sleep 60")))
        await running(pool)
        await asyncio.sleep(3.0)  # leaves the request behind it three seconds for a new worker to start
        behind = asyncio.create_task(worker_pid(pool))
        with pytest.raises(PredictionTimeout):
            await hung
        assert await behind != first


async def test_an_idle_worker_that_dies_is_replaced(opened: Opened, files: Lookup) -> None:
    """The pool notices a crash between two requests; the next request finds a new process."""
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        os.kill(pid, signal.SIGKILL)
        assert await worker_pid(pool) != pid


async def test_crashes_are_noticed_without_process_descriptors(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the system has no pidfd (macOS), the end of the worker's pipe says that it ended."""
    monkeypatch.delattr(os, "pidfd_open")
    async with opened(request_seconds=4.0) as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        os.kill(pid, signal.SIGKILL)
        assert await worker_pid(pool) != pid
        with pytest.raises(PredictionTimeout):
            await predict(pool, "commands", command("sleep 60"))
        assert await predict(pool, "commands", command("x"))


async def test_a_worker_that_dies_after_its_load_report_is_not_used(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a worker ends between its report and its first request, another process takes its place."""
    wait_loaded = launcher._wait_loaded
    deaths = iter([True, False])

    async def load_and_die(spawn: Spawn, *args: Any, seconds: float) -> LoadReport:
        report = await wait_loaded(spawn, *args, seconds=seconds)
        if next(deaths):
            await spawn.worker.kill()
        return report

    monkeypatch.setattr(launcher, "_wait_loaded", load_and_die)
    async with opened() as pool:
        await load(pool, files("commands"))
        assert await predict(pool, "commands", command("x"))


async def test_no_request_is_lost_when_a_crashed_workers_model_is_evicted(
    opened: Opened, files: Lookup, tmp_path: Path
) -> None:
    """A model whose worker has just crashed is busy with the requests that the worker had."""
    async with opened(max_loaded_models=1, wall=NO_WALL) as pool:
        await load(pool, files("commands"))
        jobs = [command(f"die_once {tmp_path / 'died'}"), *(command("x") for _ in range(5))]
        calls = [asyncio.create_task(predict(pool, "commands", job)) for job in jobs]
        await asyncio.sleep(0)
        await load(pool, files("sums"))
        assert len(await asyncio.gather(*calls)) == 6


@pytest.mark.slow  # another fork server imports all model libraries
async def test_the_fork_servers_death_fails_no_request(opened: Opened, files: Lookup) -> None:
    """Workers end with their fork server; those of the next one answer the requests they had."""
    async with opened(workers_per_model=2) as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        calls = [
            asyncio.create_task(predict(pool, "commands", command("sleep 0.05", "x"))) for _ in range(20)
        ]
        await running(pool)
        forkserver = psutil.Process(pid).parent()
        assert forkserver is not None
        forkserver.kill()
        await load(pool, files("sums"))
        assert len(await asyncio.gather(*calls)) == 20


@pytest.mark.slow  # waits for the time to fork, and another fork server imports all model libraries
async def test_a_fork_server_that_hangs_is_replaced(opened: Opened, files: Lookup) -> None:
    """A worker start does not wait for it for ever, and a later one has another fork server."""
    async with opened(fork_timeout_seconds=PATIENT_SECONDS, load_retry_seconds=0.1) as pool:
        await load(pool, files("commands"))
        hung = pool._forkserver.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        pool._forkserver.fork_timeout_seconds = 5.0
        async with asyncio.timeout(180):
            while not pool.is_loaded(SUMS):
                try:
                    await load(pool, files("sums"))
                except ModelLoadError:  # the new fork server was not ready in time either
                    pool._forkserver.fork_timeout_seconds = PATIENT_SECONDS
                    await asyncio.sleep(0.2)
        assert pool._forkserver.pid != hung
        assert await predict(pool, "sums", ADD) == [11.0, 22.0]
        assert not psutil.pid_exists(hung)


async def test_what_a_model_started_ends_with_its_worker(opened: Opened, files: Lookup) -> None:
    """Processes that a model started end with the worker, and do not hide its end."""
    async with opened() as pool:
        await load(pool, files("commands"))
        answers = [await predict(pool, "commands", command(verb)) for verb in ("spawn", "fork")]
    for answer in answers:
        assert isinstance(answer, list)
        await ended(answer[0])
