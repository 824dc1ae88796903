"""The places of all processes below the supervisor."""

from __future__ import annotations

import logging
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

    from gateway.server.child_process import ChildProcess
    from gateway.server.process_slot import ProcessSlot
    from gateway.server.signals import SignalInbox

logger = logging.getLogger(__name__)

_HEARTBEAT_CHECKS: Final = 6  # within the time after which a process hangs


class ProcessSlots:
    """The places of several processes, and what is done to all of them.

    A process whose event loop does not run for `hang_seconds` counts as hung.
    """

    def __init__(self, slots: Sequence[ProcessSlot], *, hang_seconds: float) -> None:
        self._slots = slots
        self._hang_seconds = hang_seconds
        self._next_check = time.monotonic()

    @property
    def processes(self) -> list[ChildProcess]:
        """The processes in the slots, also those whose exit was not noticed yet."""
        return [slot.process for slot in self._slots if slot.process is not None]

    @property
    def running(self) -> list[ChildProcess]:
        """The processes that have not exited."""
        return [process for process in self.processes if process.exit_status is None]

    @property
    def all_listen(self) -> bool:
        """Whether each slot has a process that has reported its address."""
        return all(slot.process is not None and slot.process.address is not None for slot in self._slots)

    def start_due(self) -> None:
        """Start a process in each empty slot whose time has come."""
        for slot in self._slots:
            if slot.process is None and slot.restart_at <= time.monotonic():
                slot.start()

    def seconds_until_due(self) -> float:
        """Return the seconds until a process is to be started or checked; negative if that is late."""
        due = [slot.restart_at for slot in self._slots if slot.process is None]
        return min([self._next_check, *due]) - time.monotonic()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to each process that runs."""
        for process in self.running:
            process.send_signal(number)

    def kill_hung(self) -> None:
        """Kill each process without a heartbeat at all checks of the last `hang_seconds`."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + self._hang_seconds / _HEARTBEAT_CHECKS
        for slot in self._slots:
            process = slot.process
            if process is None or process.exit_status is not None:
                continue
            if process.check_heartbeat() >= _HEARTBEAT_CHECKS:
                logger.error(
                    "%s hangs: its event loop has not run for %g s; killing it",
                    slot.name,
                    self._hang_seconds,
                    extra={"event": "process_hung", "pid": process.pid},
                )
                process.kill_hung()


def wait_for_events(processes: Sequence[ChildProcess], inbox: SignalInbox, seconds: float) -> None:
    """Wait at most `seconds` for a signal, or until a process exits or reports; take in what came."""
    waitables = [each for process in processes for each in process.waitables()]
    wait([inbox.pipe, *waitables], max(0.0, seconds))
    inbox.read()
    for process in processes:
        process.read_report()
