"""Proves what happens to a gateway process that runs and does not serve."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.end_to_end.test_shutdown import predict
from tests.support.commands import descendants, parent, still_running

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Process, Start

pytestmark = pytest.mark.timeout(300)


def log_has(gateway: Process, text: str) -> bool:
    """Return whether a line of the log, or of the stacks in it, contains `text`."""
    return any(text in line for line in gateway.log())


async def status_of_prediction(gateway: Process) -> int:
    async with aiohttp.ClientSession() as client:
        return await predict(client, gateway)


@pytest.mark.slow
async def test_a_blocked_event_loop_ends_the_process(start: Start) -> None:
    """The log has the stack of the blocked thread, the exit status is 1, and no worker is left."""
    gateway = start(program="hangs", preload="lean", HANG_SECONDS="4")
    assert await status_of_prediction(gateway) == 200
    below = descendants(gateway.pid)
    gateway.send(signal.SIGUSR2)
    assert await gateway.exit_status() == 1
    assert gateway.events("event_loop_hung")
    assert log_has(gateway, "in hang_in_here")
    assert await asyncio.to_thread(still_running, below) == set()


async def test_a_stopped_process_ends_when_it_is_resumed(start: Start) -> None:
    """A process that was stopped for longer than its event loop may hang ends: its timers run meanwhile."""
    gateway = start(program="hangs", HANG_SECONDS="1")  # two seconds for a single process
    gateway.send(signal.SIGSTOP)
    await asyncio.sleep(2.2)
    gateway.send(signal.SIGCONT)
    assert await gateway.exit_status() == 1
    assert gateway.events("event_loop_hung")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "reason"), [(signal.SIGUSR2, "SIGABRT"), (signal.SIGSTOP, "SIGKILL")])
async def test_a_hung_process_among_several_is_replaced(
    start: Start, number: signal.Signals, reason: str
) -> None:
    """The supervisor kills it and starts another one; the log has the blocked thread's stack if it ran."""
    gateway = start(program="hangs", preload="lean", GATEWAY_PROCESSES="2", HANG_SECONDS="8")
    victim, other = sorted(gateway.gateway_pids())
    os.kill(victim, number)
    (hung,) = await gateway.wait_for("process_hung")
    (exited,) = await gateway.wait_for("process_exited")
    assert (hung["pid"], exited["pid"], exited["reason"]) == (victim, victim, reason)
    assert log_has(gateway, "in hang_in_here") is (number == signal.SIGUSR2)
    await gateway.wait_for("listening", times=3)
    assert other in gateway.gateway_pids()
    assert len(gateway.gateway_pids()) == 2
    assert await status_of_prediction(gateway) == 200
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


def separate_python(folder: Path) -> Path:
    """Create another path to this Python with the same packages, which the test can remove."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    return folder / "bin" / "python"


def kill_fork_server(gateway: Process) -> None:
    """Kill the process that workers are forked from, and so all workers."""
    for pid in descendants(gateway.pid):
        line = (Path("/proc") / str(pid) / "cmdline").read_bytes()
        if b"workers/forkserver" in line and parent(pid) == gateway.pid:
            os.kill(pid, signal.SIGKILL)


async def worker_health(gateway: Process) -> tuple[int, Any]:
    """Return the status of the readiness probe, and what it reports of workers."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{gateway.url}/health/ready") as response,
    ):
        return response.status, (await response.json())["workers"]


@pytest.mark.slow
async def test_a_gateway_that_can_start_no_worker_recovers(start: Start, tmp_path: Path) -> None:
    """It is not ready while no worker can be started, and ready again by itself afterwards."""
    python = separate_python(tmp_path / "python")
    gateway = start(python=python)
    assert await status_of_prediction(gateway) == 200
    python.rename(python.with_name("away"))
    kill_fork_server(gateway)
    async with asyncio.timeout(60):
        while (await worker_health(gateway)) != (503, {"can_start": False}):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.05)
    assert not gateway.events("worker_starts_recovered")
    python.with_name("away").rename(python)
    await gateway.wait_for("worker_starts_recovered")
    assert await worker_health(gateway) == (200, {"can_start": True})


@pytest.mark.slow
async def test_a_gateway_that_can_start_no_worker_ends(start: Start, tmp_path: Path) -> None:
    """It logs the reason and exits with status 1 if no worker can be started for too long."""
    python = separate_python(tmp_path / "python")
    gateway = start(program="gives_up_soon", python=python)
    assert await status_of_prediction(gateway) == 200
    python.unlink()
    kill_fork_server(gateway)
    async with asyncio.timeout(60):
        with suppress(aiohttp.ClientError):
            while not gateway.events(
                "worker_starts_fatal"
            ):  # a gateway that starts no worker notices nothing
                await status_of_prediction(gateway)
                await asyncio.sleep(0.1)
    assert await gateway.exit_status() == 1
    assert gateway.events("worker_starts_fatal")
    assert await asyncio.to_thread(gateway.left) == []


@pytest.mark.slow  # the gateway waits five seconds
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_start_that_hangs_can_be_ended(start: Start, processes: str) -> None:
    """SIGTERM ends a blocked start with status 0, in each process; the log has the blocked thread's stack."""
    gateway = start(program="stuck_at_start", GATEWAY_PROCESSES=processes)
    assert gateway.url == "stuck"
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0
    assert gateway.events("start_aborted")
    assert {record["seconds"] for record in gateway.events("shutdown_hung")} == {5.0}
    assert log_has(gateway, "in stuck_in_here")
    assert await asyncio.to_thread(gateway.left) == []


async def test_a_second_signal_while_it_closes(start: Start) -> None:
    """It ends the gateway within three seconds with status 1, even if a component's `close` hangs."""
    gateway = start(program="ends_slowly")
    gateway.send(signal.SIGTERM)
    await gateway.wait_for("pool_closing")
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 1
    assert [record["seconds"] for record in gateway.events("shutdown_hung")] == [3.0]
