"""Serves in as many processes as the settings say: starts them, replaces the dead, ends all in order."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final

from gateway.server import listeners, server
from gateway.server.process import HANDLED_SIGNALS, STOP_SIGNALS, GatewayProcess
from gateway.settings import CurrentSettings
from gateway.settings.reload import SettingsReloader
from gateway.system import environment
from gateway.telemetry import logs
from gateway.telemetry.metrics.shared import SharedSnapshots

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from gateway.settings import Settings

logger = logging.getLogger(__name__)

_BACKOFF_RESET_SECONDS: Final = 30.0
_INITIAL_BACKOFF_SECONDS: Final = 0.5
_MAX_BACKOFF_SECONDS: Final = 15.0
_EXIT_SECONDS: Final = 10.0  # for what a process does after its drain
_HANG_SECONDS: Final = 30.0
_HEARTBEAT_CHECKS: Final = 6  # in that time
_PERMANENT_FAILURES: Final = (1, 2)  # cannot listen; wrong settings, or a cache that cannot be used


def run(
    settings: Settings,
    *,
    announce: Callable[[str], None] | None = None,
    read_settings: Callable[[], Settings] | None = None,
    hang_seconds: float = _HANG_SECONDS,
) -> int:
    """Serve until SIGTERM or SIGINT, in this process where one is enough; the exit status.

    `announce` is told the address once every process listens. The first signal lets the requests in
    flight be answered (status 0 where every process ended with that), a second one ends them at once
    (status 1). At SIGHUP, which is not heard without `reread`, the settings are read again. A process that
    ends, or whose event loop stands still for `silence` seconds, is replaced; where none can serve, all end
    with its status. One that has no supervisor has twice the time before it ends itself (status 1).
    """
    if read_settings is not None:  # held back until somebody hears it: it would end the process
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    logs.configure(settings.log_level, settings.log_format)
    try:
        sets = listeners.open_listeners(settings.host, settings.port, count=settings.processes)
    except OSError as error:
        logger.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror)
        return 1
    if settings.processes == 1:
        patience = 2 * hang_seconds
        return server.run(
            settings, listeners=sets[0], announce=announce, read_settings=read_settings, hang_seconds=patience
        )
    environment.disable_process_inspection()
    gc.freeze()  # a collection in a process would write to every page that it shares with the others
    with _open_signal_pipe(HANDLED_SIGNALS if read_settings is not None else STOP_SIGNALS) as told:
        supervisor = Supervisor(
            settings,
            sets,
            signal_pipe=told,
            announce=announce,
            read_settings=read_settings,
            hang_seconds=hang_seconds,
        )
        try:
            status = supervisor.run()
        finally:
            ended = supervisor.shutdown()
        return status or ended


@contextmanager
def _open_signal_pipe(numbers: Sequence[signal.Signals]) -> Iterator[int]:
    """A descriptor from which the number of each of these signals can be read that comes meanwhile."""
    told, tell = os.pipe()
    for end in (told, tell):
        os.set_blocking(end, False)
    before = {number: signal.signal(number, _noop_handler) for number in numbers}
    signal.set_wakeup_fd(tell)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield told
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)


def _noop_handler(*_: object) -> None:
    """Do nothing: the signal's number arrives through the wake-up pipe."""


@dataclass(slots=True)
class _ProcessSlot:
    """A place for one process at a time: its sockets outlive whoever holds them.

    `due` is when the next one is to be started, `pause` how long the one after that would wait.
    """

    number: int
    sockets: Sequence[socket.socket]
    process: GatewayProcess | None = None
    has_served: bool = False
    restart_at: float = 0.0
    backoff_seconds: float = 0.0

    def back_off(self) -> float:
        """Set when the next process is to be started, later each time; the seconds until then."""
        seconds = self.backoff_seconds
        self.restart_at = time.monotonic() + seconds
        self.backoff_seconds = min(max(_INITIAL_BACKOFF_SECONDS, 2 * seconds), _MAX_BACKOFF_SECONDS)
        if seconds > _INITIAL_BACKOFF_SECONDS:  # nobody should wait here for so long
            listeners.stop_listening(self.sockets)
        return seconds


def _configure_logging(settings: Settings) -> None:
    """What the supervisor itself goes by; it reads the rest when it needs it."""
    logs.configure(settings.log_level, settings.log_format)


class Supervisor:
    """Owns the processes; `keep` until it is time, then `end`."""

    def __init__(
        self,
        settings: Settings,
        listener_sets: Sequence[Sequence[socket.socket]],
        *,
        signal_pipe: int,
        announce: Callable[[str], None] | None,
        read_settings: Callable[[], Settings] | None,
        hang_seconds: float,
    ) -> None:
        """`told` is where signals can be read, a byte each, without waiting."""
        self._settings = CurrentSettings(settings)
        self._read_settings = read_settings
        self._listener_sets = listener_sets
        self._snapshots = SharedSnapshots(len(listener_sets))
        self._signal_pipe = signal_pipe
        self._stop_signals: list[signal.Signals] = []
        self._reload_requested = False
        self._hang_seconds = hang_seconds
        self._next_heartbeat_check = time.monotonic()
        self._announce = announce
        self._announced = False
        self._slots = [_ProcessSlot(number, sockets) for number, sockets in enumerate(listener_sets, start=1)]

    def run(self) -> int:
        """Have every seat taken until a signal comes (0), or nobody can serve (that one's status)."""
        while True:
            for seat in self._slots:
                if seat.process is None and seat.restart_at <= time.monotonic():
                    self._start_process(seat)
            self._wait_for_events(self._processes(), self._seconds_until_due())
            if self._stop_signals:
                return 0
            for seat in self._slots:
                if seat.process is not None and (status := self._check_exit(seat, seat.process)):
                    return status
            self._announce_ready()
            self._kill_hung()
            if self._reload_requested:
                self._reload_requested = False
                self._reload()

    def shutdown(self) -> int:
        """Let every process finish what it does and end; 0 where all did so with 0, else 1.

        They are told by the signal that came: for a load balancer's sake they still take connections for a
        while after SIGTERM. A second signal is passed on to them, and whoever takes too long is killed.
        """
        logger.info("shutting down")
        last = self._processes()
        for seat in self._slots:
            for listener in seat.sockets:
                listener.close()  # so that who closes them last ends them: clients would wait where nobody is
        first = self._stop_signals[0] if self._stop_signals else signal.SIGINT
        self._send_signal(first)
        hurried = False
        until = time.monotonic() + self._settings.value.drain_seconds + _EXIT_SECONDS
        while running := self._running():
            if len(self._stop_signals) > 1 and not hurried:
                hurried = True
                # Another number: two alike may become one on the way.
                self._send_signal(signal.SIGINT if first == signal.SIGTERM else signal.SIGTERM)
                until = time.monotonic() + _EXIT_SECONDS
            if time.monotonic() >= until:
                logger.error("%d processes do not end, and are killed", len(running))
                self._send_signal(signal.SIGKILL)
                until += _EXIT_SECONDS
            self._wait_for_events(running, until - time.monotonic())
        return 1 if hurried or any(replica.exit_status for replica in last) else 0

    def _reload(self) -> None:
        """Have the settings for processes to come, and have those that run read them for themselves."""
        if self._read_settings is not None:
            reload = SettingsReloader(self._settings, self._read_settings, on_change=_configure_logging)
            if reload.apply(reload.read()):
                self._send_signal(signal.SIGHUP)

    def _kill_hung(self) -> None:
        """End whoever's event loop was silent at each of our looks: it is replaced like any that ended."""
        if time.monotonic() < self._next_heartbeat_check:
            return
        self._next_heartbeat_check = time.monotonic() + self._hang_seconds / _HEARTBEAT_CHECKS
        for replica in self._running():
            if replica.check_heartbeat() >= _HEARTBEAT_CHECKS:
                logger.error(
                    "process %d hangs, its event loop has not turned for %g s: it is ended",
                    replica.number,
                    self._hang_seconds,
                    extra={"pid": replica.pid},
                )
                replica.kill_hung()

    def _start_process(self, seat: _ProcessSlot) -> None:
        try:
            seat.process = GatewayProcess(
                self._settings.value,
                seat.number,
                listener_sets=self._listener_sets,
                read_settings=self._read_settings,
                snapshots=self._snapshots,
            )
        except OSError as error:
            pause = seat.back_off()
            logger.error(
                "no process %d can be begun, next try in %g s: %s", seat.number, pause, error.strerror
            )

    def _check_exit(self, seat: _ProcessSlot, replica: GatewayProcess) -> int:
        """See to a process that has ended. Its status where trying again is no use, else 0."""
        seat.has_served = seat.has_served or replica.address is not None
        if (status := replica.exit_status) is None:
            return 0
        if replica.address is None and status in _PERMANENT_FAILURES:
            alone = not any(other.address for other in self._running())
            if alone or not seat.has_served:
                return status
        self._schedule_restart(seat, replica)
        return 0

    def _schedule_restart(self, seat: _ProcessSlot, replica: GatewayProcess) -> None:
        seat.process = None
        if replica.uptime_seconds >= _BACKOFF_RESET_SECONDS:
            seat.backoff_seconds = 0.0
        pause = seat.back_off()
        told = {
            "pid": replica.pid,
            "reason": replica.exit_reason,
            "lived_seconds": round(replica.uptime_seconds, 1),
        }
        when = f"in {pause:g} s" if pause else "at once"
        logger.error("process %d ended, another takes its place %s", seat.number, when, extra=told)

    def _announce_ready(self) -> None:
        """Say so once everybody listens, the first time."""
        addresses = [seat.process.address for seat in self._slots if seat.process and seat.process.address]
        if not self._announced and len(addresses) == len(self._slots):
            self._announced = True
            logger.info("%d processes listen on %s", len(addresses), addresses[0])
            if self._announce is not None:
                self._announce(addresses[0])

    def _wait_for_events(self, replicas: Sequence[GatewayProcess], seconds: float) -> None:
        """Until one of them or a signal has news, or so many seconds; takes in what it is."""
        news = [each for replica in replicas for each in replica.waitables()]
        wait([self._signal_pipe, *news], max(0.0, seconds))
        with suppress(BlockingIOError):
            for number in os.read(self._signal_pipe, 64):
                if number == signal.SIGHUP:
                    self._reload_requested = True
                else:
                    self._stop_signals.append(signal.Signals(number))
        for replica in replicas:
            replica.read_report()

    def _seconds_until_due(self) -> float:
        due = [seat.restart_at for seat in self._slots if seat.process is None]
        return min([self._next_heartbeat_check, *due]) - time.monotonic()

    def _processes(self) -> list[GatewayProcess]:
        """The processes that hold a seat, also one whose end was not noticed yet."""
        return [seat.process for seat in self._slots if seat.process is not None]

    def _running(self) -> list[GatewayProcess]:
        return [replica for replica in self._processes() if replica.exit_status is None]

    def _send_signal(self, number: signal.Signals) -> None:
        for replica in self._running():
            replica.send_signal(number)
