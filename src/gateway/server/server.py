"""Serve the gateway's application in one process, until a signal or until it cannot continue."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway import app
from gateway.api.keys import COMPONENTS
from gateway.api.runner import GatewayRunner
from gateway.api.server_options import server_options
from gateway.api.tls_connection import TLS_HANDSHAKES_FAILED
from gateway.auth.access_file.problems import AccessFileError
from gateway.auth.audit import AuditLogUnusable
from gateway.concurrency.background import install_exception_handler, supervised_task
from gateway.errors import CacheFull, CacheUnusable
from gateway.server import confinement, listeners
from gateway.server.gc_tuning import tune_gc
from gateway.server.heartbeat import Heartbeat
from gateway.server.process_run import run_in_loop
from gateway.server.shutdown import GracefulShutdown
from gateway.server.signals import SignalEvents
from gateway.server.tls import TlsReloader, TlsSite, end_outdated_connections
from gateway.server.waiting import wait_first
from gateway.server.watchdog import SHUTDOWN_HUNG
from gateway.settings.reload import SettingsReloader
from gateway.telemetry import logs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gateway.api.tls_connection import HandshakeFailure
    from gateway.auth.limits.rates import Rates
    from gateway.engines.transports.unix_address import UnixAddress
    from gateway.server.tls import ServerTls
    from gateway.server.watchdog import Watchdog
    from gateway.settings import Settings
    from gateway.telemetry.metrics.collector import SnapshotSlot

logger = logging.getLogger(__name__)

HANG_SECONDS: Final = 60.0
_CLEANUP_TIMEOUT_SECONDS: Final = 1.0
_SHUTDOWN_SECONDS: Final = 10.0  # for what is left to do after the drain
_ABORTED_START_SECONDS: Final = 5.0
_FORCED_SHUTDOWN_SECONDS: Final = 3.0
_EXIT_FAILURE: Final = 1
_EXIT_MISCONFIGURED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessContext:
    """The surroundings of one gateway process: what it gets from the process that started it.

    It serves on `listeners`, with `tls` if there is one, and then calls `announce` with its address. At
    SIGHUP it calls `read_settings`; if that is None, it does not handle SIGHUP. `slot` is its place among
    several processes, whose supervisor watches `heartbeat`. All of them count rates of requests in `rates`,
    and share the models that the process at `node` holds; None is for a single process. The process ends if
    its event loop does not run for `hang_seconds`.
    """

    listeners: Sequence[socket.socket]
    tls: ServerTls | None = None
    announce: Callable[[str], None] | None = None
    read_settings: Callable[[], Settings] | None = None
    slot: SnapshotSlot | None = None
    rates: Rates | None = None
    node: UnixAddress | None = None
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    hang_seconds: float = HANG_SECONDS

    @property
    def number(self) -> int | None:
        """The number of the process among several, or None."""
        return self.slot.number if self.slot else None


def run(settings: Settings, context: ProcessContext) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status.

    The first signal lets requests in flight finish within the drain time (status 0). A second one aborts them
    (status 1). A signal during the start aborts the start (status 0). The process does not start if its cache
    folder or its folder for temporary files cannot be used (status 2). It ends by itself if its event loop
    hangs, or if it can start no worker process any more (status 1).
    """
    return run_in_loop(
        settings,
        lambda watchdog: Server(settings, context, watchdog).run(),
        number=context.number,
        hang_seconds=context.hang_seconds,
    )


class Server:
    """One run of the application, from its start to its end."""

    def __init__(self, settings: Settings, context: ProcessContext, watchdog: Watchdog) -> None:
        self._app = app.create_app(settings, slot=context.slot, rates=context.rates, node=context.node)
        self._components = self._app[COMPONENTS]
        self._settings = self._components.settings
        self._context = context
        self._watchdog = watchdog
        self._tls_reloader: TlsReloader | None = None
        self._startup: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Serve to the end, and return the exit status."""
        install_exception_handler(self._components.counters)
        signals = SignalEvents(handle_sighup=self._context.read_settings is not None)
        options = server_options(self._settings.value)
        runner = GatewayRunner(self._app, **options, shutdown_timeout=_CLEANUP_TIMEOUT_SECONDS)
        self._set_up_tls(runner)
        postpone = partial(self._watchdog.set_deadline, self._context.hang_seconds)
        try:
            with self._context.heartbeat.beating(on_beat=postpone):
                status = await self._serve(runner, signals)
        finally:
            await self._stop(runner, signals)
        return _EXIT_FAILURE if signals.force.is_set() else status

    async def _serve(self, runner: web.AppRunner, signals: SignalEvents) -> int:
        try:
            if not await self._start(runner, signals):
                return 0
        except (CacheFull, CacheUnusable) as error:
            logger.error(
                "Cannot start: %s It is %s",
                error,
                self._settings.value.cache_dir,
                extra={"event": "start_failed"},
            )
            return _EXIT_MISCONFIGURED
        except (AccessFileError, AuditLogUnusable) as error:
            logger.error("Cannot start: %s", error, extra={"event": "start_failed"})
            return _EXIT_MISCONFIGURED
        await self._listen(runner)
        counters = self._components.counters
        async with AsyncExitStack() as stack:
            watch = partial(self._components.connections.watch, _require_server(runner))
            await stack.enter_async_context(supervised_task(watch, name="connections", counters=counters))
            if self._tls_reloader is not None:
                reload_tls = self._tls_reloader.run
                await stack.enter_async_context(supervised_task(reload_tls, name="tls", counters=counters))
            if self._context.read_settings is not None:
                reloader = SettingsReloader(
                    self._settings,
                    self._context.read_settings,
                    on_request=self._read_files_again,
                    on_change=self._apply_settings,
                )
                reload = partial(reloader.run, signals.reload)
                await stack.enter_async_context(supervised_task(reload, name="settings", counters=counters))
            return await self._serve_until_stopped(runner, signals)

    async def _start(self, runner: web.AppRunner, signals: SignalEvents) -> bool:
        """Start the application; return False if a signal to stop comes before that is done."""
        self._startup = asyncio.create_task(runner.setup(), name="setup")
        await wait_first(self._startup, signals.stop)
        if self._startup.done():
            self._startup.result()
            return True
        logger.info("Shutting down: the start is aborted", extra={"event": "start_aborted"})
        return False

    async def _listen(self, runner: web.AppRunner) -> None:
        """Accept connections, and announce the address."""
        for listener in self._context.listeners:
            await self._site(runner, listener).start()
        if self._context.number in {None, 1}:  # one process speaks for all
            if self._context.node is None:
                confinement.report(self._components.wall)
            if self._context.tls is not None:
                self._context.tls.report()
        urls = listeners.urls(self._context.listeners, tls=self._context.tls is not None)
        extra = {"event": "listening", "address": urls[0], "addresses": urls, "pid": os.getpid()}
        logger.info("Listening on %s", ", ".join(urls), extra=extra)
        tune_gc()
        if self._context.announce is not None:
            self._context.announce(urls[0])

    def _set_up_tls(self, runner: web.AppRunner) -> None:
        """Count failed handshakes, and prepare that the files are read again."""
        if (tls := self._context.tls) is None:
            return
        counters, in_flight = self._components.counters, self._components.in_flight
        connections = self._components.connections

        def count(reason: HandshakeFailure) -> None:
            counters.increment(TLS_HANDSHAKES_FAILED, reason)

        def end_outdated() -> None:
            end_outdated_connections(_require_server(runner), tls, in_flight=in_flight)

        tls.on_failure = count
        tls.max_handshakes = lambda: connections.max_connections() // 4
        self._tls_reloader = TlsReloader(self._settings.value.tls, tls, on_authorities_removed=end_outdated)

    def _site(self, runner: web.AppRunner, listener: socket.socket) -> web.BaseSite:
        tls, backlog = self._context.tls, listeners.BACKLOG
        if tls is None:
            return web.SockSite(runner, listener, backlog=backlog)
        seconds = self._settings.value.idle_connection_seconds
        return TlsSite(runner, listener, tls=tls, backlog=backlog, closing_seconds=seconds)

    async def _serve_until_stopped(self, runner: web.AppRunner, signals: SignalEvents) -> int:
        """Serve until a signal, or until no worker can be started; drain, and return the exit status."""
        fatal = self._components.worker_health.fatal
        await wait_first(signals.stop, fatal)
        shutdown = GracefulShutdown(
            runner, self._context.listeners, in_flight=self._components.in_flight, force=signals.force
        )
        settings = self._settings.value
        grace = settings.effective_grace_seconds if signals.graceful and signals.stop.is_set() else 0.0
        await shutdown.run(grace=grace, seconds=settings.drain_seconds)
        return _EXIT_FAILURE if fatal.is_set() or signals.force.is_set() else 0

    def _apply_settings(self) -> None:
        settings = self._settings.value
        logs.configure(settings.log_level, settings.log_format, process=self._context.number)
        self._components.engine.notify_limits_changed()

    def _read_files_again(self) -> None:
        self._app[app.CALLER_CHECKS].access_file.request()
        if self._tls_reloader is not None:
            self._tls_reloader.request()

    async def _stop(self, runner: web.AppRunner, signals: SignalEvents) -> None:
        """Close the application within a deadline, which a second signal shortens."""
        if signals.force.is_set():
            self._set_deadline(_FORCED_SHUTDOWN_SECONDS)
        elif self._startup is not None and not self._startup.done():
            # The start may wait for a disk that never answers; that is no failure of the shutdown.
            self._set_deadline(_ABORTED_START_SECONDS, status=0)
        else:
            self._set_deadline(_SHUTDOWN_SECONDS)
        closing = asyncio.create_task(self._close(runner))
        try:
            await wait_first(closing, signals.force)
            if not closing.done():
                self._set_deadline(_FORCED_SHUTDOWN_SECONDS)
        finally:
            await closing

    def _set_deadline(self, seconds: float, *, status: int = _EXIT_FAILURE) -> None:
        self._watchdog.set_deadline(seconds, event=SHUTDOWN_HUNG, status=status)

    async def _close(self, runner: web.AppRunner) -> None:
        if self._startup is not None and not self._startup.done():
            self._startup.cancel()
            await asyncio.gather(self._startup, return_exceptions=True)
        await runner.cleanup()


def _require_server(runner: web.AppRunner) -> web.Server:
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    return runner.server
