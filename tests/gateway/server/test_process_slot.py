"""Proves when the process of a slot is started again."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, cast

from gateway.server import listeners
from gateway.server.process_slot import ProcessSlot

if TYPE_CHECKING:
    from gateway.server.process import GatewayProcess


class Exited:
    """Stands for a gateway process that has exited, after some seconds."""

    def __init__(self, uptime_seconds: float) -> None:
        self.uptime_seconds = uptime_seconds


def exited(slot: ProcessSlot, uptime_seconds: float) -> float:
    """Fill the slot with a process that has exited, and release it."""
    slot.process = cast("GatewayProcess", Exited(uptime_seconds))
    return slot.release()


def test_delays_grow() -> None:
    """The first restart is at once; a process that ran for 30 s counts as stable, and starts them anew."""
    slot = ProcessSlot(1, [])
    assert [exited(slot, 1) for _ in range(8)] == [0, 0.5, 1, 2, 4, 8, 15, 15]
    assert slot.process is None
    assert slot.restart_at > time.monotonic()
    assert [exited(slot, 30), exited(slot, 1)] == [0, 0.5]


def test_clients_do_not_wait_for_a_process_that_starts_late() -> None:
    """After a delay of more than half a second its sockets do not listen: other processes get the clients."""
    ((listener,),) = listeners.open_listeners("127.0.0.1", 0, count=1)
    with listener:
        slot = ProcessSlot(1, [listener])
        listening = []
        for _ in range(3):
            exited(slot, 1)
            listening.append(bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)))
        assert listening == [True, True, False]
