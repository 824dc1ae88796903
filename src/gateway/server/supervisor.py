"""Run as many processes as the settings say, and replace those that die."""

from __future__ import annotations

import gc
import logging
import signal
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.auth.limits.shared_rates import SharedRates
from gateway.server import (
    confinement,
    gateway_process,
    listeners,
    server,
    startup_warnings,
)
from gateway.server.addresses import ListenError
from gateway.server.child_process import ChildProcess
from gateway.server.gateway_process import SharedSetup
from gateway.server.node_socket import node_socket
from gateway.server.process_end import end_processes
from gateway.server.process_slot import ProcessSlot
from gateway.server.process_slots import ProcessSlots, wait_for_events
from gateway.server.server import ProcessContext
from gateway.server.signals import HANDLED_SIGNALS, STOP_SIGNALS, SignalInbox, signal_pipe
from gateway.server.tls import ServerTls
from gateway.server.tls_errors import TlsError
from gateway.server.tls_files import load_tls_files
from gateway.settings import CurrentSettings, wall_policy
from gateway.settings.reload import SettingsReloader
from gateway.system import environment
from gateway.system.wall import wall_status
from gateway.telemetry import logs
from gateway.telemetry.metrics.shared import SharedTelemetry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gateway.server.child_process import ChildContext
    from gateway.server.node_socket import NodeSocket
    from gateway.settings import Settings

logger = logging.getLogger(__name__)

_HANG_SECONDS: Final = 30.0
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

    Several gateway processes share the models of one more process, the node process. `announce` is called
    with the address once every process listens. The first signal lets requests in flight
    finish (status 0 if every process exited with that), a second one aborts them (status 1). SIGHUP reads the
    settings again by `read_settings`; it is not handled if that is None. A process that exits, or whose event
    loop does not run for `hang_seconds`, is replaced. If no process can serve, all end with its status. A
    single process has no supervisor: it ends itself after twice that time (status 1).
    """
    if read_settings is not None:  # until a handler is installed, SIGHUP would end the process
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    logs.configure(settings.log_level, settings.log_format)
    startup_warnings.log_service_links(settings)
    startup_warnings.log_exposure(settings)
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
    # Before the fork, so that the processes share it. One process alone needs none of it.
    from gateway.server import local_node_process  # noqa: PLC0415 - see above

    environment.disable_process_inspection()
    gc.freeze()  # a collection in a forked process would write to every page that it shares with the others
    numbers = HANDLED_SIGNALS if read_settings is not None else STOP_SIGNALS
    with ExitStack() as stack:
        try:
            local = settings.fleet.engine == "local"
            node = stack.enter_context(node_socket()) if local else None
        except OSError as error:
            logger.error(
                "Cannot start: no folder for temporary files can be used for the socket of the models: %s",
                error,
                extra={"event": "start_failed"},
            )
            return _EXIT_MISCONFIGURED
        setup = SharedSetup(
            listener_sets=listener_sets,
            tls=tls,
            read_settings=read_settings,
            telemetry=SharedTelemetry.create(len(listener_sets) + (node is not None)),
            rates=SharedRates(),
            node=node,
        )
        inbox = SignalInbox(stack.enter_context(signal_pipe(numbers)))
        supervisor = Supervisor(
            settings,
            setup,
            serve_models=local_node_process.serve,
            inbox=inbox,
            announce=announce,
            hang_seconds=hang_seconds,
        )
        try:
            status = supervisor.run()
        finally:
            shutdown_status = supervisor.shutdown()
        return status or shutdown_status


class Supervisor:
    """A parent of several gateway processes and the node process: call `run` first, then `shutdown`."""

    def __init__(
        self,
        settings: Settings,
        setup: SharedSetup,
        *,
        serve_models: Callable[[SharedSetup, Settings, NodeSocket, int, ChildContext], int],
        inbox: SignalInbox,
        announce: Callable[[str], None] | None,
        hang_seconds: float,
    ) -> None:
        """`serve_models` runs in the node process, as `local_node_process.serve` does."""
        self._settings = CurrentSettings(settings)
        self._setup = setup
        self._serve_models = serve_models
        self._inbox = inbox
        self._announce = announce
        self._announced = False
        self._node_slots: list[ProcessSlot] = []
        if (node := setup.node) is not None:
            self._node_slots = [ProcessSlot("The node process", (), partial(self._start_node_process, node))]
        self._gateway_slots = [
            ProcessSlot(f"Gateway process {number}", sockets, partial(self._start_gateway_process, number))
            for number, sockets in enumerate(setup.listener_sets, start=1)
        ]
        self._node = ProcessSlots(self._node_slots, hang_seconds=hang_seconds)
        self._gateways = ProcessSlots(self._gateway_slots, hang_seconds=hang_seconds)
        self._all = ProcessSlots([*self._node_slots, *self._gateway_slots], hang_seconds=hang_seconds)

    def run(self) -> int:
        """Keep every slot filled until a signal comes (0) or no process can serve (the last one's status)."""
        while True:
            self._all.start_due()
            wait_for_events(self._all.processes, self._inbox, self._all.seconds_until_due())
            if self._inbox.stop_signals:
                return 0
            for slot in (*self._node_slots, *self._gateway_slots):
                if slot.process is not None and (status := self._check_exit(slot, slot.process)):
                    return status
            self._announce_ready()
            self._all.kill_hung()
            if self._inbox.take_reload_request():
                self._reload()

    def shutdown(self) -> int:
        """Let every process finish and exit; return 0 if all did so with 0, else 1.

        The gateway processes get the signal that the supervisor got: after SIGTERM they still accept
        connections for the grace time. They get a second signal too. Once they have ended, the node process
        ends. A process that takes too long is killed.
        """
        logger.info("Shutting down", extra={"event": "shutdown_started"})
        processes = self._all.processes
        for slot in self._gateway_slots:
            for listener in slot.sockets:
                listener.close()  # else clients could connect after the processes have closed theirs
        first = self._inbox.stop_signals[0] if self._inbox.stop_signals else signal.SIGINT
        drain_seconds = self._settings.value.drain_seconds
        forced = end_processes(self._gateways, first, seconds=drain_seconds, inbox=self._inbox)
        forced |= end_processes(self._node, first, seconds=0.0, inbox=self._inbox)
        return 1 if forced or any(process.exit_status for process in processes) else 0

    def _reload(self) -> None:
        """Read the settings for future processes, and have the running ones read them too."""
        if self._setup.read_settings is not None:
            reloader = SettingsReloader(
                self._settings, self._setup.read_settings, on_change=self._configure_logs
            )
            if reloader.apply(reloader.read()):
                self._all.send_signal(signal.SIGHUP)

    def _configure_logs(self) -> None:
        logs.configure(self._settings.value.log_level, self._settings.value.log_format)

    def _start_gateway_process(self, number: int) -> ChildProcess:
        serve = partial(gateway_process.serve, self._setup, self._settings.value, number)
        return ChildProcess(f"gateway {number}", serve, handle_sighup=self._setup.read_settings is not None)

    def _start_node_process(self, socket: NodeSocket) -> ChildProcess:
        number = len(self._gateway_slots) + 1
        serve = partial(self._serve_models, self._setup, self._settings.value, socket, number)
        return ChildProcess("gateway node", serve, handle_sighup=self._setup.read_settings is not None)

    def _check_exit(self, slot: ProcessSlot, process: ChildProcess) -> int:
        """Replace the process if it has exited; return its status if another try is of no use, else 0."""
        slot.has_served = slot.has_served or process.address is not None
        if (status := process.exit_status) is None:
            return 0
        if process.address is None and status in _PERMANENT_FAILURES:
            is_gateway = slot not in self._node_slots
            alone = is_gateway and not any(other.address for other in self._gateways.running)
            if alone or not slot.has_served:
                return status
        slot.release(process)
        return 0

    def _announce_ready(self) -> None:
        """Announce the address once, when every process listens for the first time."""
        if self._announced or not self._all.all_listen:
            return
        self._announced = True
        urls = listeners.urls(self._setup.listener_sets[0], tls=self._setup.tls is not None)
        logger.info(
            "All %d processes listen on %s",
            len(self._gateway_slots),
            ", ".join(urls),
            extra={"event": "all_processes_listening", "address": urls[0], "addresses": urls},
        )
        if self._announce is not None:
            self._announce(urls[0])
