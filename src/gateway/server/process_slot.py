"""The place of one process below the supervisor, which outlives the process."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from gateway.server import listeners
from workers.backoff import Backoff

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gateway.server.child_process import ChildProcess

logger = logging.getLogger(__name__)

_INITIAL_DELAY_SECONDS: Final = 0.5
_MAX_DELAY_SECONDS: Final = 15.0
_STABLE_SECONDS: Final = 30.0  # a process that ran so long is restarted at once again


class ProcessSlot:
    """A place for one process at a time, with the sockets on which each of its processes serves clients.

    `process` is the one that runs. If it is None, the next one starts at `restart_at` of the monotonic clock.
    """

    def __init__(
        self, name: str, sockets: Sequence[socket.socket], start_process: Callable[[], ChildProcess]
    ) -> None:
        """`name` begins sentences in the log. `start_process` raises OSError if no process can start."""
        self.name = name
        self.sockets = sockets
        self.process: ChildProcess | None = None
        self.has_served = False
        self.restart_at = 0.0
        self._start_process = start_process
        self._backoff = Backoff(_INITIAL_DELAY_SECONDS, _MAX_DELAY_SECONDS)
        self._restarted = False

    def start(self) -> None:
        """Start a process; if the system cannot, schedule another try."""
        try:
            self.process = self._start_process()
        except OSError as error:
            delay = self._schedule_restart()
            logger.error(
                "%s cannot be started: %s; next try in %g s",
                self.name,
                error.strerror,
                delay,
                extra={"event": "process_start_failed", "delay_seconds": delay},
            )

    def release(self, exited: ChildProcess) -> None:
        """Take out the process, which has exited, and schedule the start of the next one."""
        if exited.uptime_seconds >= _STABLE_SECONDS:
            self._backoff.reset()
            self._restarted = False
        self.process = None
        delay = self._schedule_restart()
        logger.error(
            "%s exited (%s); restarting %s",
            self.name,
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
