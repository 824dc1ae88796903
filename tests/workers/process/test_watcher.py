"""A watcher knows when its process has ended, and can kill it, with and without a process descriptor."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from workers.process.forkserver import ForkedProcess
from workers.process.watcher import ProcessWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


@pytest.mark.parametrize("has_descriptor", [True, False])
async def test_the_id_of_a_collected_process_may_be_anothers(has_descriptor: bool) -> None:
    """The process that has it now is left alone, at the exit and by a kill before that is known."""
    sentinel, report = os.pipe()
    with started(["cat"]) as other:
        with started(["true"], pass_fds=[report]) as ended:
            os.close(report)
            pidfd = os.pidfd_open(ended.pid) if has_descriptor else None
            ended.wait()
        watched = os.dup(sentinel) if pidfd is None else pidfd
        watcher = ProcessWatcher(on_exit=lambda: None)
        watcher.watch(ForkedProcess(other.pid, pidfd, sentinel, watched))
        if has_descriptor:
            watcher.kill()
        await _dead(watcher)
        watcher.kill()
        answer, _ = await asyncio.to_thread(other.communicate, b"still here", TIMEOUT_SECONDS)
    assert (answer, other.returncode) == (b"still here", 0)
    os.close(sentinel)


async def test_what_a_collected_process_leaves_is_ended() -> None:
    """The id of a group with a process in it is never given to another one."""
    sentinel, report = os.pipe()
    leaver = [sys.executable, "-c", "import os, time\nif os.fork() == 0: time.sleep(300)\n"]
    with started(leaver, pass_fds=[report]) as ended:
        os.close(report)
        pidfd = os.pidfd_open(ended.pid)
        ended.wait()
        watcher = ProcessWatcher(on_exit=lambda: None)
        watcher.watch(ForkedProcess(ended.pid, pidfd, sentinel, pidfd))
        await _dead(watcher)
        answer, _ = await asyncio.to_thread(ended.communicate, None, TIMEOUT_SECONDS)
        assert answer == b""
    os.close(sentinel)


def started(command: list[str], *, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own."""
    return subprocess.Popen(
        command, pass_fds=pass_fds, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


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
