"""A watcher knows when its process has ended, and can kill it, with and without a process descriptor."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from workers.process.forkserver import ForkedProcess
from workers.process.watcher import ProcessWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_SECONDS = 60.0


@pytest.fixture(params=["a process descriptor", "none"])
def child(request: pytest.FixtureRequest) -> Iterator[tuple[ForkedProcess, subprocess.Popen[bytes]]]:
    """A process that runs, as the fork server returns it."""
    sentinel, report = os.pipe()
    process = subprocess.Popen(["sleep", "300"], pass_fds=[report], start_new_session=True)
    os.close(report)
    pidfd = os.pidfd_open(process.pid) if request.param == "a process descriptor" else None
    watched = os.dup(sentinel) if pidfd is None else pidfd
    yield ForkedProcess(process.pid, pidfd, sentinel, watched), process
    process.kill()
    process.wait()
    os.close(sentinel)


async def test_a_process_is_killed_and_its_exit_reported(
    child: tuple[ForkedProcess, subprocess.Popen[bytes]],
) -> None:
    """It does not count as dead before; `on_exit` is called once."""
    exits: list[None] = []
    watcher = ProcessWatcher(on_exit=lambda: exits.append(None))
    watcher.watch(child[0])
    await asyncio.sleep(0)
    assert not watcher.dead.is_set()
    assert child[1].poll() is None
    watcher.kill()
    await _dead(watcher)
    watcher.kill()
    assert exits == [None]


async def test_a_kill_before_the_process_is_known(
    child: tuple[ForkedProcess, subprocess.Popen[bytes]],
) -> None:
    """The process is killed as soon as the watcher gets it."""
    watcher = ProcessWatcher(on_exit=lambda: None)
    watcher.kill()
    watcher.watch(child[0])
    await _dead(watcher)


async def test_a_process_that_never_started() -> None:
    """Its exit is reported, once."""
    exits: list[None] = []
    watcher = ProcessWatcher(on_exit=lambda: exits.append(None))
    watcher.never_started()
    watcher.never_started()
    await _dead(watcher)
    assert exits == [None]


async def _dead(watcher: ProcessWatcher) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await watcher.dead.wait()
