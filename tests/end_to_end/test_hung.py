"""Proves what becomes of a gateway process that lives and does not serve."""

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

from tests.end_to_end.test_shutdown import ask, status_of, until
from tests.support.commands import descendants, left, parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Process

pytestmark = pytest.mark.timeout(300)


def said(gateway: Process, text: str) -> bool:
    return any(text in line for line in gateway.log())


def replicas(gateway: Process) -> set[int]:
    return {pid for pid in descendants(gateway.pid) if parent(pid) == gateway.pid}


async def asked(gateway: Process) -> int:
    async with aiohttp.ClientSession() as client:
        return await ask(client, gateway)


async def test_a_loop_that_stands_still_ends_the_process(start: Callable[..., Process]) -> None:
    """The log says where it hangs, the status is 1, and no worker is left: whoever supervises begins anew."""
    gateway = start(program="hangs")
    assert await asked(gateway) == 200
    below = descendants(gateway.pid)
    gateway.send(signal.SIGUSR2)
    assert await status_of(gateway) == 1
    assert said(gateway, "The event loop has not run for")
    assert said(gateway, "in hang_in_here")
    assert await asyncio.to_thread(left, below) == set()


async def test_a_stopped_process_ends_when_it_is_resumed(start: Callable[..., Process]) -> None:
    """If it was stopped for longer than its event loop may hang: its timers go on while it is stopped."""
    gateway = start(program="hangs")
    gateway.send(signal.SIGSTOP)
    await asyncio.sleep(8)  # longer than the loop may hang
    gateway.send(signal.SIGCONT)
    assert await status_of(gateway) == 1
    assert said(gateway, "The event loop has not run for")


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGUSR2, "SIGABRT"), (signal.SIGSTOP, "SIGKILL")])
async def test_a_hung_process_among_several_is_replaced(
    start: Callable[..., Process], number: signal.Signals, reason: str
) -> None:
    """The supervisor ends it, having it tell where it hangs if it still can; another takes its place."""
    gateway = start(program="hangs", GATEWAY_PROCESSES="2")
    victim, other = sorted(replicas(gateway))
    os.kill(victim, number)
    await until(lambda: said(gateway, "hangs: its event loop"))
    await until(lambda: said(gateway, "; restarting"))
    assert said(gateway, f'"reason":"{reason}"')
    assert said(gateway, "in hang_in_here") is (number == signal.SIGUSR2)
    await until(lambda: sum("Listening on" in line for line in gateway.log()) == 3)
    assert other in replicas(gateway)
    assert len(replicas(gateway)) == 2
    assert await asked(gateway) == 200
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 0


def python_of_its_own(folder: Path) -> Path:
    """Another way to this Python, with the same packages."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    return folder / "bin" / "python"


def kill_template(gateway: Process) -> None:
    """End the process of which the workers are forks."""
    for pid in descendants(gateway.pid):
        line = (Path("/proc") / str(pid) / "cmdline").read_bytes()
        if b"multiprocessing.forkserver" in line and parent(pid) == gateway.pid:
            os.kill(pid, signal.SIGKILL)


async def health(gateway: Process) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{gateway.url}/health/ready") as answer,
    ):
        return answer.status, (await answer.json())["workers"]


async def test_a_gateway_that_can_start_no_worker_says_so_and_ends(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    """It is not ready while it tries, is ready again where it can, and ends with status 1 where it cannot."""
    python = python_of_its_own(tmp_path / "python")
    gateway = start(program="gives_up_soon", python=python)
    assert await asked(gateway) == 200
    python.rename(python.with_name("away"))
    kill_template(gateway)
    async with asyncio.timeout(60):
        while (await health(gateway)) != (503, {"can_start": False}):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.05)
    python.with_name("away").rename(python)
    await until(lambda: said(gateway, "Worker processes can be started again"))
    assert await health(gateway) == (200, {"can_start": True})
    python.unlink()
    kill_template(gateway)
    with suppress(aiohttp.ClientError):
        while not said(gateway, ": exiting"):  # one that loads nothing notices nothing
            await asked(gateway)
            await asyncio.sleep(0.1)
    assert await status_of(gateway) == 1
    assert said(gateway, "No worker process could be started for")
    assert gateway.left() == []


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_start_that_hangs_can_be_ended(start: Callable[..., Process], processes: str) -> None:
    """Status 0, and the log says where it hung; so it is with each of several processes."""
    gateway = start(program="stuck_at_start", GATEWAY_PROCESSES=processes)
    assert gateway.url == "stuck"
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 0
    assert said(gateway, "the start is aborted")
    assert said(gateway, "Shutdown did not finish within 5 s")
    assert said(gateway, "in stuck_in_here")
    assert await asyncio.to_thread(gateway.left) == []


async def test_a_second_signal_while_it_closes(start: Callable[..., Process]) -> None:
    """Whoever waits for the end no longer gets it soon, with status 1, whatever still hangs."""
    gateway = start(program="ends_slowly")
    gateway.send(signal.SIGTERM)
    await until(lambda: said(gateway, "closing for"))
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 1
    assert said(gateway, "Shutdown did not finish within 3 s")
