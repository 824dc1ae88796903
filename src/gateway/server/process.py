"""One of several gateway processes: how it begins, and what its supervisor sees of it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from gateway.server import server
from gateway.server.watchdog import Heartbeat, HeartbeatMonitor
from gateway.telemetry.metrics.collector import SnapshotSlot

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from gateway.settings import Settings
    from gateway.telemetry.metrics.shared import SharedSnapshots

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
HANDLED_SIGNALS: Final = (*STOP_SIGNALS, signal.SIGHUP)

_PR_SET_PDEATHSIG: Final = 1
_MAX_ADDRESS_BYTES: Final = 1024
_TRACEBACK_SECONDS: Final = 2.0
# A fork has this very process' settings and sockets, whatever `.env` says by now, and stays hidden
# from the workers of its siblings, as it would not across an exec.
_FORK_CONTEXT: Final = multiprocessing.get_context("fork")


class GatewayProcess:
    """A gateway process that runs, or has ended.

    It leads a session of its own, so that Ctrl-C reaches its supervisor alone; it is told to stop
    when its supervisor dies, however that happens.
    """

    def __init__(
        self,
        settings: Settings,
        number: int,
        *,
        listener_sets: Sequence[Sequence[socket.socket]],
        read_settings: Callable[[], Settings] | None,
        snapshots: SharedSnapshots,
    ) -> None:
        """Start it on the sockets and with the slate of its number, from 1.

        Raises OSError where there can be no process.
        """
        self.number = number
        pulse = Heartbeat()
        self._heartbeat_monitor = HeartbeatMonitor(pulse)
        self.address: str | None = None
        self._started_at = time.monotonic()
        self._report, tell = _FORK_CONTEXT.Pipe(duplex=False)
        more = {
            "sets": listener_sets,
            "supervisor": os.getpid(),
            "report": tell,
            "reread": read_settings,
            "pulse": pulse,
        }
        self._process = _FORK_CONTEXT.Process(
            target=_process_main,
            args=(settings, SnapshotSlot(snapshots, number)),
            kwargs=more,
            name=f"gateway {number}",
        )
        try:
            with _signals_blocked():
                self._process.start()
        except OSError:
            self._report.close()
            raise
        finally:
            tell.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    @property
    def exit_status(self) -> int | None:
        """Its exit status, the negative number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    @property
    def uptime_seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._started_at

    @property
    def exit_reason(self) -> str:
        """What it ended with, for a person."""
        status = self.exit_status or 0
        if status >= 0:
            return f"status {status}"
        with suppress(ValueError):
            return signal.Signals(-status).name
        return f"signal {-status}"

    def waitables(self) -> list[Connection | int]:
        """What becomes readable when it has something to say, and when it ends."""
        return [self._process.sentinel, *([] if self._report.closed else [self._report])]

    def read_report(self) -> None:
        """Take what it has said: its `address`, once it listens there."""
        if not self._report.closed and self._report.poll():
            with suppress(EOFError, OSError):
                self.address = self._report.recv_bytes(_MAX_ADDRESS_BYTES).decode()
            self._report.close()

    def check_heartbeat(self) -> int:
        """Look whether its event loop has turned; how often in a row it had not."""
        return self._heartbeat_monitor.check()

    def kill_hung(self) -> None:
        """Have it write where it hangs, where it still can, and end it."""
        self.send_signal(signal.SIGABRT)
        self._process.join(_TRACEBACK_SECONDS)
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """A signal, where it still runs."""
        if self.exit_status is None:
            os.kill(self.pid, number)  # it is our child, and not waited for: the id is its own


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """No signal comes meanwhile: in a process just begun it would count as its supervisor's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)


def _process_main(
    settings: Settings,
    seat: SnapshotSlot,
    *,
    sets: Sequence[Sequence[socket.socket]],
    supervisor: int,
    report: Connection,
    reread: Callable[[], Settings] | None,
    pulse: Heartbeat,
) -> NoReturn:
    """All that runs in the new process."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for each in STOP_SIGNALS:
        signal.signal(each, _exit)
    if reread is None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.platform == "linux":  # SIGINT: without its supervisor it need not wait for a load balancer
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != supervisor:  # it ended before we asked
        sys.exit(0)
    # SIGHUP stays held back until the event loop hears it: it may be about settings that we do not have.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS if reread is None else STOP_SIGNALS)
    for index, others in enumerate(sets, start=1):
        if index != seat.number:  # nobody would hear the connections made there once its own process is gone
            for listener in others:
                listener.close()

    def tell(address: str) -> None:
        with report, suppress(OSError):
            report.send_bytes(address.encode())

    status = server.run(
        settings,
        listeners=sets[seat.number - 1],
        announce=tell,
        read_settings=reread,
        slot=seat,
        heartbeat=pulse,
    )
    sys.exit(status)


def _exit(*_: object) -> NoReturn:
    sys.exit(0)
