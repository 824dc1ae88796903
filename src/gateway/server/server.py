"""One gateway process: serves the application on its listeners until it is told to end, or cannot go on."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib
import logging
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway import app
from gateway.api.keys import COMPONENTS
from gateway.api.server_options import server_options
from gateway.concurrency.background import install_exception_handler, supervised_task
from gateway.errors import CacheFull, CacheUnusable
from gateway.server import listeners
from gateway.server.shutdown import GracefulShutdown
from gateway.server.signals import SignalEvents
from gateway.server.watchdog import HANG_SECONDS, Heartbeat, Watchdog
from gateway.settings.reload import SettingsReloader
from gateway.system import descriptors, environment, tempdir
from gateway.telemetry import logs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gateway.settings import Settings
    from gateway.telemetry.metrics.collector import SnapshotSlot

logger = logging.getLogger(__name__)

_CLEANUP_TIMEOUT_SECONDS: Final = 1.0
_SHUTDOWN_TICKS: Final = 10  # of the watchdog, for what is left to do after the drain
_ABORTED_START_TICKS: Final = 5  # for a start that is broken off
_FORCED_SHUTDOWN_TICKS: Final = 3
_EXIT_FAILURE: Final = 1
_EXIT_MISCONFIGURED: Final = 2


def run(
    settings: Settings,
    *,
    listeners: Sequence[socket.socket],
    announce: Callable[[str], None] | None = None,
    read_settings: Callable[[], Settings] | None = None,
    slot: SnapshotSlot | None = None,
    heartbeat: Heartbeat | None = None,
    hang_seconds: float = HANG_SECONDS,
) -> int:
    """Serve on `listeners` until SIGTERM or SIGINT; the process's exit status.

    `announce` is told the address once it is served. `reread` finds the settings again at SIGHUP, which is
    not heard without it. `seat` is this process' place among several, whose supervisor reads its `pulse`.
    A process whose event loop stands still for `silence` seconds is ended (status 1).
    The first signal lets the requests in flight be answered within the settings' drain (status 0), a second
    one ends them at once (status 1). A start that is not done yet is broken off (status 0). Nothing is begun
    where the cache's folder cannot be used, or none for temporary files (status 2).
    A gateway that cannot serve any more ends by itself (status 1).
    """
    logs.configure(settings.log_level, settings.log_format, process=slot.number if slot else None)
    faulthandler.enable()  # a crash, or a supervisor's SIGABRT, tells where every thread was
    descriptors.raise_fd_limit()
    environment.disable_process_inspection()
    fast = importlib.import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with ExitStack() as stack:
        try:
            stack.enter_context(tempdir.private_tempdir())
        except OSError as error:
            logger.error("cannot start: there is no folder for temporary files: %s", error)
            return _EXIT_MISCONFIGURED
        heartbeat = heartbeat or Heartbeat()
        watchdog = Watchdog(heartbeat, most=round(hang_seconds))
        watchdog.start()
        server = Server(settings, listeners, announce=announce, read_settings=read_settings, slot=slot)
        with asyncio.Runner(loop_factory=fast) as runner:
            status = runner.run(server.run(heartbeat, watchdog))
        watchdog.stop()
        return status


class Server:
    """One run of the application."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        *,
        announce: Callable[[str], None] | None,
        read_settings: Callable[[], Settings] | None,
        slot: SnapshotSlot | None,
    ) -> None:
        """As for `run` above."""
        self._app = app.create_app(settings, slot=slot)
        self._components = self._app[COMPONENTS]
        self._settings = self._components.settings
        self._listeners = listeners
        self._announce = announce
        self._read_settings = read_settings
        self._process_number = slot.number if slot else None
        self._startup: asyncio.Task[None] | None = None

    async def run(self, heartbeat: Heartbeat, watchdog: Watchdog) -> int:
        """Serve to the end; the exit status. The watchdog has less patience with what comes after."""
        install_exception_handler(self._components.counters)
        signals = SignalEvents(handle_sighup=self._read_settings is not None)
        options = server_options(self._settings.value)
        runner = web.AppRunner(self._app, **options, shutdown_timeout=_CLEANUP_TIMEOUT_SECONDS)
        try:
            with heartbeat.beating():
                status = await self._serve(runner, signals)
        finally:
            await self._stop(runner, signals, watchdog=watchdog)
        return _EXIT_FAILURE if signals.force.is_set() else status

    async def _stop(self, runner: web.AppRunner, signals: SignalEvents, *, watchdog: Watchdog) -> None:
        """Close every room; a second signal that comes meanwhile shortens the watchdog's patience too."""
        if signals.force.is_set():
            watchdog.hurry(most=_FORCED_SHUTDOWN_TICKS)
        elif self._startup is not None and not self._startup.done():
            watchdog.hurry(most=_ABORTED_START_TICKS, status=0)  # it may wait for a disk that never answers
        else:
            watchdog.hurry(most=_SHUTDOWN_TICKS)
        closing = asyncio.create_task(self._close(runner))
        hurried = asyncio.create_task(signals.force.wait())
        try:
            await asyncio.wait([closing, hurried], return_when=asyncio.FIRST_COMPLETED)
            if hurried.done():
                watchdog.hurry(most=_FORCED_SHUTDOWN_TICKS)
        finally:
            hurried.cancel()
            await closing

    async def _close(self, runner: web.AppRunner) -> None:
        if self._startup is not None and not self._startup.done():
            self._startup.cancel()
            await asyncio.gather(self._startup, return_exceptions=True)
        await runner.cleanup()

    async def _start(self, runner: web.AppRunner, signals: SignalEvents) -> bool:
        """Open every room; False where a signal to stop comes before that is done."""
        self._startup = asyncio.create_task(runner.setup(), name="setup")
        stop = asyncio.create_task(signals.stop.wait())
        try:
            await asyncio.wait([self._startup, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if self._startup.done():
            self._startup.result()
            return True
        logger.info("shutting down: the start is broken off")
        return False

    async def _serve(self, runner: web.AppRunner, signals: SignalEvents) -> int:
        try:
            if not await self._start(runner, signals):
                return 0
        except (CacheFull, CacheUnusable) as error:
            logger.error("cannot start: %s It is %s.", error, self._settings.value.cache_dir)
            return _EXIT_MISCONFIGURED
        for listener in self._listeners:
            listeners.listen_again(listener)
            await web.SockSite(runner, listener, backlog=listeners.BACKLOG).start()
        address = _base_url(runner)
        logger.info("listening on %s", address)
        _tune_gc()
        if self._announce is not None:
            self._announce(address)
        tally = self._components.counters
        async with AsyncExitStack() as stack:
            watch = partial(self._components.connections.watch, _require_server(runner))
            await stack.enter_async_context(supervised_task(watch, name="connections", counters=tally))
            if self._read_settings is not None:
                reload = SettingsReloader(self._settings, self._read_settings, on_change=self._apply_settings)
                work = partial(reload.run, signals.reload)
                await stack.enter_async_context(supervised_task(work, name="settings", counters=tally))
            return await self._serve_until_stopped(runner, signals)

    async def _serve_until_stopped(self, runner: web.AppRunner, signals: SignalEvents) -> int:
        """Wait for the end and bring it about; the exit status."""
        hopeless = self._components.worker_health.fatal
        await _wait_first(signals.stop, hopeless)
        shutdown = GracefulShutdown(
            runner, self._listeners, in_flight=self._components.in_flight, force=signals.force
        )
        settings = self._settings.value
        grace = settings.effective_grace_seconds if signals.graceful and signals.stop.is_set() else 0.0
        await shutdown.run(grace=grace, seconds=settings.drain_seconds)
        return _EXIT_FAILURE if hopeless.is_set() or signals.force.is_set() else 0

    def _apply_settings(self, settings: Settings) -> None:
        logs.configure(settings.log_level, settings.log_format, process=self._process_number)
        app.apply_settings(self._app, settings)


async def _wait_first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


def _require_server(runner: web.AppRunner) -> web.Server:
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    return runner.server


def _tune_gc() -> None:
    """Keep the garbage collector from what stays for good, and from looking at requests ever so often.

    It took a twentieth of the time under load, and found nothing: requests leave no cycles.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _base_url(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
