"""The place of one gateway process among several, which outlives the process."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from gateway.server import listeners
from workers.backoff import Backoff

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gateway.server.process import GatewayProcess

logger = logging.getLogger(__name__)

_INITIAL_DELAY_SECONDS: Final = 0.5
_MAX_DELAY_SECONDS: Final = 15.0
_STABLE_SECONDS: Final = 30.0  # a process that ran so long is restarted at once again


class ProcessSlot:
    """A numbered place for one process at a time, with the sockets that each of its processes serves on.

    `process` is the one that runs. If it is None, the next one starts at `restart_at` of the monotonic clock.
    """

    def __init__(self, number: int, sockets: Sequence[socket.socket]) -> None:
        self.number = number
        self.sockets = sockets
        self.process: GatewayProcess | None = None
        self.has_served = False
        self.restart_at = 0.0
        self._backoff = Backoff(_INITIAL_DELAY_SECONDS, _MAX_DELAY_SECONDS)
        self._restarted = False

    def start(self, start_process: Callable[[int], GatewayProcess]) -> None:
        """Start a process with the number of this slot; if the system cannot, schedule another try."""
        try:
            self.process = start_process(self.number)
        except OSError as error:
            delay = self._schedule_restart()
            logger.error(
                "Cannot start gateway process %d: %s; next try in %g s",
                self.number,
                error.strerror,
                delay,
                extra={"event": "process_start_failed", "delay_seconds": delay},
            )

    def release(self, exited: GatewayProcess) -> None:
        """Take out the process, which has exited, and schedule the start of the next one."""
        if exited.uptime_seconds >= _STABLE_SECONDS:
            self._backoff.reset()
            self._restarted = False
        self.process = None
        delay = self._schedule_restart()
        logger.error(
            "Gateway process %d exited (%s); restarting %s",
            self.number,
            exited.exit_reason,
            f"in {delay:g} s" if delay else "at once",
            extra={
                "event": "process_exited",
                "pid": exited.pid,
                "reason": exited.exit_reason,
                "uptime_seconds": round(exited.uptime_seconds, 1),
                "delay_seconds": delay,
            },
        )

    def _schedule_restart(self) -> float:
        """Schedule the next start, and return the seconds until then: 0, then 0.5, 1, 2, … 15."""
        delay = self._backoff.next_delay() if self._restarted else 0.0
        self._restarted = True
        self.restart_at = time.monotonic() + delay
        if delay > _INITIAL_DELAY_SECONDS:  # too long for clients to wait here
            listeners.stop_listening(self.sockets)
        return delay
