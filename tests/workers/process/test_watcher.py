"""A watcher knows and can kill its process even if no descriptor is left for a pidfd."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import until
from workers.process.watcher import ProcessWatcher
from workers.protocol.messages import PID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

TIMEOUT_SECONDS = 60.0


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    """Prevent this process from opening anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def child() -> Iterator[tuple[Connection, Connection, subprocess.Popen[bytes]]]:
    """Both ends of a pipe, and a process that keeps the second end open as long as it lives."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = subprocess.Popen(["sleep", "300"], pass_fds=[sender.fileno()], start_new_session=True)
    yield receiver, sender, process
    process.kill()
    process.wait()


async def test_no_descriptor_is_left_for_the_process(
    child: tuple[Connection, Connection, subprocess.Popen[bytes]],
) -> None:
    """The process does not count as dead, it can be killed, and the end of the pipe reports its exit."""
    receiver, sender, process = child
    watcher = ProcessWatcher(receiver, on_exit=lambda: None)
    with no_free_descriptor():
        sender.send_bytes(process.pid.to_bytes(PID_BYTES, "little"))
        await until(lambda: watcher.pid is not None)
    sender.close()
    await asyncio.sleep(0)
    assert not watcher.dead.is_set()
    assert process.poll() is None
    watcher.kill()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await watcher.dead.wait()
