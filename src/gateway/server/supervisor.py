"""Run as many gateway processes as the settings say, and replace those that die."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final

from gateway.auth.limits.shared_rates import SharedRates
from gateway.server import confinement, listeners, server
from gateway.server.addresses import ListenError
from gateway.server.process import GatewayProcess
from gateway.server.process_slot import ProcessSlot
from gateway.server.server import ProcessContext
from gateway.server.signals import HANDLED_SIGNALS, STOP_SIGNALS, signal_pipe
from gateway.server.tls import ServerTls
from gateway.server.tls_errors import TlsError
from gateway.server.tls_files import load_tls_files
from gateway.settings import CurrentSettings, wall_policy
from gateway.settings.reload import SettingsReloader
from gateway.system import environment, privileges
from gateway.system.wall import wall_status
from gateway.telemetry import logs
from gateway.telemetry.metrics.shared import SharedTelemetry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gateway.settings import Settings

logger = logging.getLogger(__name__)

_EXIT_SECONDS: Final = 10.0  # for what a process does after its drain
_HANG_SECONDS: Final = 30.0
_HEARTBEAT_CHECKS: Final = 6  # within that time
_EXIT_FAILURE: Final = 1  # it cannot listen
_EXIT_MISCONFIGURED: Final = 2  # wrong settings, or a cache that cannot be used
_PERMANENT_FAILURES: Final = (_EXIT_FAILURE, _EXIT_MISCONFIGURED)


def run(
    settings: Settings,
    *,
    announce: Callable[[str], None] | None = None,
    read_settings: Callable[[], Settings] | None = None,
    hang_seconds: float = _HANG_SECONDS,
) -> int:
    """Serve until SIGTERM or SIGINT, in this process if the settings want one only; return the exit status.

    `announce` is called with the address once every process listens. The first signal lets requests in flight
    finish (status 0 if every process exited with that), a second one aborts them (status 1). SIGHUP reads the
    settings again by `read_settings`; it is not handled if that is None. A process that exits, or whose event
    loop does not run for `hang_seconds`, is replaced. If no process can serve, all end with its status. A
    single process has no supervisor: it ends itself after twice that time (status 1).
    """
    if read_settings is not None:  # until a handler is installed, SIGHUP would end the process
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    logs.configure(settings.log_level, settings.log_format)
    _log_service_links(settings)
    _log_exposure(settings)
    if not confinement.is_sufficient(wall_status(wall_policy(settings))):
        return _EXIT_MISCONFIGURED
    try:
        tls = ServerTls(load_tls_files(settings.tls)) if settings.tls.cert_file else None
    except TlsError as error:
        logger.error("Cannot start: %s", error, extra={"event": "start_failed"})
        return _EXIT_MISCONFIGURED
    try:
        listener_sets = listeners.open_listeners(settings.hosts, settings.port, count=settings.processes)
    except ListenError as error:
        logger.error("Cannot listen on %s", error.strerror, extra={"event": "listen_failed"})
        return _EXIT_MISCONFIGURED if error.misconfigured else _EXIT_FAILURE
    if settings.processes == 1:
        context = ProcessContext(
            listeners=listener_sets[0],
            tls=tls,
            announce=announce,
            read_settings=read_settings,
            hang_seconds=2 * hang_seconds,
        )
        return server.run(settings, context)
    return _supervise(
        settings,
        listener_sets,
        tls=tls,
        announce=announce,
        read_settings=read_settings,
        hang_seconds=hang_seconds,
    )


def _log_service_links(settings: Settings) -> None:
    if names := settings.service_links:
        logger.warning(
            "Ignored %d variables that Kubernetes set for Services, not this pod (%s): "
            "set enableServiceLinks: false in its spec",
            len(names),
            ", ".join(names),
            extra={"event": "service_links_ignored", "names": names},
        )


def _log_exposure(settings: Settings) -> None:
    """Warn of secrets that models can read, and of files that others may have written and are not used."""
    if exposure := privileges.exposure():
        logger.warning("%s: %s", exposure, privileges.ADVICE, extra={"event": "privileged_user"})
    for text in settings.client_files.ignored:
        logger.warning("%s", text, extra={"event": "client_file_ignored"})


def _supervise(
    settings: Settings,
    listener_sets: Sequence[Sequence[socket.socket]],
    *,
    tls: ServerTls | None,
    announce: Callable[[str], None] | None,
    read_settings: Callable[[], Settings] | None,
    hang_seconds: float,
) -> int:
    """Run several gateway processes until all have ended, and return the exit status."""
    environment.disable_process_inspection()
    gc.freeze()  # a collection in a gateway process would write to every page that it shares with the others
    with signal_pipe(HANDLED_SIGNALS if read_settings is not None else STOP_SIGNALS) as pipe:
        supervisor = Supervisor(
            settings,
            listener_sets,
            tls=tls,
            pipe=pipe,
            announce=announce,
            read_settings=read_settings,
            hang_seconds=hang_seconds,
        )
        try:
            status = supervisor.run()
        finally:
            shutdown_status = supervisor.shutdown()
        return status or shutdown_status


class Supervisor:
    """A parent of several gateway processes: call `run` first, then `shutdown`."""

    def __init__(
        self,
        settings: Settings,
        listener_sets: Sequence[Sequence[socket.socket]],
        *,
        tls: ServerTls | None,
        pipe: int,
        announce: Callable[[str], None] | None,
        read_settings: Callable[[], Settings] | None,
        hang_seconds: float,
    ) -> None:
        """Signals are read from the descriptor `pipe`, one byte each."""
        self._settings = CurrentSettings(settings)
        self._read_settings = read_settings
        self._listener_sets = listener_sets
        self._tls = tls
        self._telemetry = SharedTelemetry.create(len(listener_sets))
        self._rates = SharedRates()
        self._pipe = pipe
        self._stop_signals: list[signal.Signals] = []
        self._reload_requested = False
        self._hang_seconds = hang_seconds
        self._next_heartbeat_check = time.monotonic()
        self._announce = announce
        self._announced = False
        self._slots = [ProcessSlot(number, sockets) for number, sockets in enumerate(listener_sets, start=1)]

    def run(self) -> int:
        """Keep every slot filled until a signal comes (0) or no process can serve (the last one's status)."""
        while True:
            for slot in self._slots:
                if slot.process is None and slot.restart_at <= time.monotonic():
                    slot.start(self._start_process)
            self._wait_for_events(self._processes(), self._seconds_until_due())
            if self._stop_signals:
                return 0
            for slot in self._slots:
                if slot.process is not None and (status := self._check_exit(slot, slot.process)):
                    return status
            self._announce_ready()
            self._kill_hung()
            if self._reload_requested:
                self._reload_requested = False
                self._reload()

    def shutdown(self) -> int:
        """Let every process finish and exit; return 0 if all did so with 0, else 1.

        The processes get the signal that the supervisor got: after SIGTERM they still accept connections for
        the grace time. They get a second signal too. A process that takes too long is killed.
        """
        logger.info("Shutting down", extra={"event": "shutdown_started"})
        processes = self._processes()
        for slot in self._slots:
            for listener in slot.sockets:
                listener.close()  # else clients could connect after the processes have closed theirs
        first = self._stop_signals[0] if self._stop_signals else signal.SIGINT
        self._send_signal(first)
        forced = False
        ends = time.monotonic() + self._settings.value.drain_seconds + _EXIT_SECONDS
        while running := self._running():
            if len(self._stop_signals) > 1 and not forced:
                forced = True
                # A different signal: two of the same number may merge into one while they are pending.
                self._send_signal(signal.SIGINT if first == signal.SIGTERM else signal.SIGTERM)
                ends = time.monotonic() + _EXIT_SECONDS
            if time.monotonic() >= ends:
                logger.error(
                    "Killing %d gateway processes that did not exit in time",
                    len(running),
                    extra={"event": "processes_killed", "pids": [process.pid for process in running]},
                )
                self._send_signal(signal.SIGKILL)
                ends += _EXIT_SECONDS
            self._wait_for_events(running, ends - time.monotonic())
        return 1 if forced or any(process.exit_status for process in processes) else 0

    def _reload(self) -> None:
        """Read the settings for future processes, and have the running ones read them too."""
        if self._read_settings is not None:
            reloader = SettingsReloader(self._settings, self._read_settings, on_change=self._configure_logs)
            if reloader.apply(reloader.read()):
                self._send_signal(signal.SIGHUP)

    def _configure_logs(self) -> None:
        logs.configure(self._settings.value.log_level, self._settings.value.log_format)

    def _kill_hung(self) -> None:
        """Kill each process without a heartbeat at all checks of the last `hang_seconds`."""
        if time.monotonic() < self._next_heartbeat_check:
            return
        self._next_heartbeat_check = time.monotonic() + self._hang_seconds / _HEARTBEAT_CHECKS
        for process in self._running():
            if process.check_heartbeat() >= _HEARTBEAT_CHECKS:
                logger.error(
                    "Gateway process %d hangs: its event loop has not run for %g s; killing it",
                    process.number,
                    self._hang_seconds,
                    extra={"event": "process_hung", "pid": process.pid},
                )
                process.kill_hung()

    def _start_process(self, number: int) -> GatewayProcess:
        return GatewayProcess(
            self._settings.value,
            number,
            listener_sets=self._listener_sets,
            tls=self._tls,
            read_settings=self._read_settings,
            telemetry=self._telemetry,
            rates=self._rates,
        )

    def _check_exit(self, slot: ProcessSlot, process: GatewayProcess) -> int:
        """Replace the process if it has exited; return its status if another try is of no use, else 0."""
        slot.has_served = slot.has_served or process.address is not None
        if (status := process.exit_status) is None:
            return 0
        if process.address is None and status in _PERMANENT_FAILURES:
            alone = not any(other.address for other in self._running())
            if alone or not slot.has_served:
                return status
        slot.release(process)
        return 0

    def _announce_ready(self) -> None:
        """Announce the address once, when every process listens for the first time."""
        addresses = [slot.process.address for slot in self._slots if slot.process and slot.process.address]
        if not self._announced and len(addresses) == len(self._slots):
            self._announced = True
            urls = listeners.urls(self._listener_sets[0], tls=self._tls is not None)
            logger.info(
                "All %d processes listen on %s",
                len(addresses),
                ", ".join(urls),
                extra={"event": "all_processes_listening", "address": urls[0], "addresses": urls},
            )
            if self._announce is not None:
                self._announce(addresses[0])

    def _wait_for_events(self, processes: Sequence[GatewayProcess], seconds: float) -> None:
        """Wait at most `seconds` for a signal, an exit or a report, and take in signals and reports."""
        waitables = [each for process in processes for each in process.waitables()]
        wait([self._pipe, *waitables], max(0.0, seconds))
        with suppress(BlockingIOError):
            for number in os.read(self._pipe, 64):
                if number == signal.SIGHUP:
                    self._reload_requested = True
                else:
                    self._stop_signals.append(signal.Signals(number))
        for process in processes:
            process.read_report()

    def _seconds_until_due(self) -> float:
        due = [slot.restart_at for slot in self._slots if slot.process is None]
        return min([self._next_heartbeat_check, *due]) - time.monotonic()

    def _processes(self) -> list[GatewayProcess]:
        """Return the processes in the slots, also those whose exit was not noticed yet."""
        return [slot.process for slot in self._slots if slot.process is not None]

    def _running(self) -> list[GatewayProcess]:
        return [process for process in self._processes() if process.exit_status is None]

    def _send_signal(self, number: signal.Signals) -> None:
        for process in self._running():
            process.send_signal(number)
