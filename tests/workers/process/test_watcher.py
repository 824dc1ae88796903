"""Proves that a worker is known and can be ended where no descriptor is left for its process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.raw_clients import SECONDS
from tests.support.waiting import until
from workers.process.watcher import ProcessWatcher
from workers.protocol.messages import PID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process can open nothing meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def ends() -> Iterator[tuple[Connection, Connection, subprocess.Popen[bytes]]]:
    """A pipe's two ends, and a process that holds the second of them as long as it lives."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = subprocess.Popen(["sleep", "300"], pass_fds=[sender.fileno()], start_new_session=True)
    yield receiver, sender, process
    process.kill()
    process.wait()


async def test_no_descriptor_for_the_process(
    ends: tuple[Connection, Connection, subprocess.Popen[bytes]],
) -> None:
    """It does not count as dead; the pipe's end tells of its death, and it can be killed."""
    receiver, sender, process = ends
    lifeline = ProcessWatcher(receiver, on_exit=lambda: None)
    with no_descriptor_left():
        sender.send_bytes(process.pid.to_bytes(PID_BYTES, "little"))
        await until(lambda: lifeline.pid is not None)
    sender.close()
    await asyncio.sleep(0)
    assert not lifeline.dead.is_set()
    assert process.poll() is None
    lifeline.kill()
    async with asyncio.timeout(SECONDS):
        await lifeline.dead.wait()
