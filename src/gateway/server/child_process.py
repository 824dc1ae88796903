"""A process that the supervisor forks: how it begins, and how its supervisor sees it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from gateway.server.heartbeat import Heartbeat, HeartbeatMonitor
from gateway.server.signals import HANDLED_SIGNALS, STOP_SIGNALS, signals_blocked

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

_PR_SET_PDEATHSIG: Final = 1
_MAX_ADDRESS_BYTES: Final = 1024
_TRACEBACK_SECONDS: Final = 2.0
# A fork has exactly these settings and sockets, even if `.env` has changed. Unlike after an exec, it stays
# hidden from the workers of the other processes.
_FORK_CONTEXT: Final = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class ChildContext:
    """What a forked process gets from its supervisor: it calls `announce` with its address once it listens.

    The supervisor watches `heartbeat`.
    """

    announce: Callable[[str], None]
    heartbeat: Heartbeat


class ChildProcess:
    """A handle on a forked process that runs or has exited.

    The process leads a session of its own, so that Ctrl-C reaches only its supervisor. The kernel tells it to
    stop if its supervisor dies.
    """

    def __init__(self, name: str, serve: Callable[[ChildContext], int], *, handle_sighup: bool) -> None:
        """Fork a process that exits with the status that `serve` returns.

        SIGHUP is blocked in it until it handles the signal; it is ignored if it will not. Raise OSError if
        the system cannot start a process.
        """
        self.name = name
        self.address: str | None = None
        heartbeat = Heartbeat()
        self._heartbeat_monitor = HeartbeatMonitor(heartbeat)
        self._started_at = time.monotonic()
        self._report, report_end = _FORK_CONTEXT.Pipe(duplex=False)
        self._process = _FORK_CONTEXT.Process(
            target=_run,
            args=(serve, report_end, heartbeat),
            kwargs={"supervisor": os.getpid(), "handle_sighup": handle_sighup},
            name=name,
        )
        try:
            with signals_blocked():
                self._process.start()
        except OSError:
            self._report.close()
            raise
        finally:
            report_end.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid or 0

    @property
    def exit_status(self) -> int | None:
        """The exit status, the negative number of the signal that killed it, or None while it runs."""
        return self._process.exitcode

    @property
    def uptime_seconds(self) -> float:
        """The seconds since its start."""
        return time.monotonic() - self._started_at

    @property
    def exit_reason(self) -> str:
        """The exit status or the name of the signal, for the log."""
        status = self.exit_status or 0
        if status >= 0:
            return f"status {status}"
        with suppress(ValueError):
            return signal.Signals(-status).name
        return f"signal {-status}"

    def waitables(self) -> list[Connection | int]:
        """Return what becomes readable when the process exits or reports its address."""
        return [self._process.sentinel, *([] if self._report.closed else [self._report])]

    def read_report(self) -> None:
        """Set `address` if the process has reported where it listens."""
        if not self._report.closed and self._report.poll():
            with suppress(EOFError, OSError):
                self.address = self._report.recv_bytes(_MAX_ADDRESS_BYTES).decode()
            self._report.close()

    def check_heartbeat(self) -> int:
        """Return how many checks in a row, this one included, saw no heartbeat of its event loop."""
        return self._heartbeat_monitor.check()

    def kill_hung(self) -> None:
        """Kill it; first give it 2 s to write the stacks of its threads."""
        self.send_signal(signal.SIGABRT)
        self._process.join(_TRACEBACK_SECONDS)
        self.send_signal(signal.SIGKILL)
        self._process.join(_TRACEBACK_SECONDS)  # so that it is not found to hang once more

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal if it still runs."""
        if self.exit_status is None:
            os.kill(self.pid, number)  # a child that is not waited for: no other process has its pid


def _run(
    serve: Callable[[ChildContext], int],
    report: Connection,
    heartbeat: Heartbeat,
    *,
    supervisor: int,
    handle_sighup: bool,
) -> NoReturn:
    """Run in the new process until it exits."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for each in STOP_SIGNALS:
        signal.signal(each, _exit)
    if not handle_sighup:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.platform == "linux":  # SIGINT: without its supervisor it need not wait for load balancers
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != supervisor:  # the supervisor died before the call above
        sys.exit(0)
    # SIGHUP stays blocked until the event loop handles it: it may be about settings newer than these.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS if handle_sighup else HANDLED_SIGNALS)

    def announce(address: str) -> None:
        with report, suppress(OSError):
            report.send_bytes(address.encode())

    sys.exit(serve(ChildContext(announce, heartbeat)))


def _exit(*_: object) -> NoReturn:
    sys.exit(0)
