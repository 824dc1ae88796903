"""Proves when the process of a slot is started again."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import TYPE_CHECKING, NoReturn, cast

from gateway.server import listeners
from gateway.server.process_slot import ProcessSlot

if TYPE_CHECKING:
    import pytest

    from gateway.server.child_process import ChildProcess


class Exited:
    """Stands for a gateway process that has exited, after some seconds."""

    pid = 1
    exit_reason = "status 1"

    def __init__(self, uptime_seconds: float) -> None:
        self.uptime_seconds = uptime_seconds


def fail() -> NoReturn:
    """Fail as the system does at a limit on processes."""
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def release(slot: ProcessSlot, uptime_seconds: float) -> None:
    """Fill the slot with a process that has exited, and release that."""
    slot.process = cast("ChildProcess", Exited(uptime_seconds))
    slot.release(slot.process)


def delays(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Return the seconds before each start that the log has, and clear the log."""
    found = [vars(record)["delay_seconds"] for record in caplog.records]
    caplog.clear()
    return found


def test_delays_grow(caplog: pytest.LogCaptureFixture) -> None:
    """The first restart is at once; after a process that ran for 30 s the delays start again."""
    slot = ProcessSlot("Process 1", [], fail)
    for _ in range(8):
        release(slot, 1)
    assert delays(caplog) == [0, 0.5, 1, 2, 4, 8, 15, 15]
    assert slot.process is None
    assert slot.restart_at > time.monotonic()
    release(slot, 30)
    release(slot, 1)
    assert delays(caplog) == [0, 0.5]


def test_a_process_that_cannot_be_started(caplog: pytest.LogCaptureFixture) -> None:
    """The start is tried again after the same delays."""

    slot = ProcessSlot("Process 1", [], fail)
    for _ in range(3):
        slot.start()
    assert slot.process is None
    assert delays(caplog) == [0, 0.5, 1]


def test_clients_do_not_wait_for_a_process_that_starts_late() -> None:
    """After a delay of more than half a second its sockets do not listen: other processes get the clients."""
    ((listener,),) = listeners.open_listeners(["127.0.0.1"], 0, count=1)
    with listener:
        slot = ProcessSlot("Process 1", [listener], fail)
        listening = []
        for _ in range(3):
            release(slot, 1)
            listening.append(bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)))
        assert listening == [True, True, False]
