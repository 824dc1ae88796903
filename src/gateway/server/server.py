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
from gateway.api import keys
from gateway.concurrency.background import hear_the_loop, kept
from gateway.errors import CacheFull, CacheUnusable
from gateway.server import listeners
from gateway.server.shutdown import Shutdown
from gateway.server.signals import Signals
from gateway.server.watchdog import SILENT_SECONDS, Pulse, Watchdog
from gateway.settings.reload import Reload
from gateway.system import descriptors, environment, tempdir
from gateway.telemetry import logs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gateway.settings import Settings
    from gateway.telemetry.metrics.collector import Seat

logger = logging.getLogger(__name__)

_LAST_WORDS_SECONDS: Final = 1.0
_ENDING_TICKS: Final = 10  # of the watchdog, for what is left to do after the drain
_GIVEN_UP_TICKS: Final = 5  # for a start that is broken off
_HURRIED_TICKS: Final = 3
_UNABLE: Final = 1
_WRONG: Final = 2


def run(
    settings: Settings,
    *,
    listeners: Sequence[socket.socket],
    announce: Callable[[str], None] | None = None,
    reread: Callable[[], Settings] | None = None,
    seat: Seat | None = None,
    pulse: Pulse | None = None,
    silence: float = SILENT_SECONDS,
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
    logs.configure(settings.log_level, settings.log_format, process=seat.number if seat else None)
    faulthandler.enable()  # a crash, or a supervisor's SIGABRT, tells where every thread was
    descriptors.allow_many()
    environment.hide_from_workers()
    fast = importlib.import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with ExitStack() as stack:
        try:
            stack.enter_context(tempdir.own_folder())
        except OSError as error:
            logger.error("cannot start: there is no folder for temporary files: %s", error)
            return _WRONG
        pulse = pulse or Pulse()
        watchdog = Watchdog(pulse, most=round(silence))
        watchdog.start()
        server = Server(settings, listeners, announce=announce, reread=reread, seat=seat)
        with asyncio.Runner(loop_factory=fast) as runner:
            status = runner.run(server.run(pulse, watchdog))
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
        reread: Callable[[], Settings] | None,
        seat: Seat | None,
    ) -> None:
        """As for `run` above."""
        self._app = app.create_app(settings, seat=seat)
        self._current = self._app[keys.SETTINGS]
        self._listeners = listeners
        self._announce = announce
        self._reread = reread
        self._process = seat.number if seat else None
        self._setup: asyncio.Task[None] | None = None

    async def run(self, pulse: Pulse, watchdog: Watchdog) -> int:
        """Serve to the end; the exit status. The watchdog has less patience with what comes after."""
        hear_the_loop(self._app[keys.TALLY])
        signals = Signals(hear_hangup=self._reread is not None)
        options = app.server_options(self._current.now)
        runner = web.AppRunner(self._app, **options, shutdown_timeout=_LAST_WORDS_SECONDS)
        try:
            with pulse.beating():
                status = await self._begun(runner, signals)
        finally:
            await self._end(runner, signals, watchdog=watchdog)
        return _UNABLE if signals.now.is_set() else status

    async def _end(self, runner: web.AppRunner, signals: Signals, *, watchdog: Watchdog) -> None:
        """Close every room; a second signal that comes meanwhile shortens the watchdog's patience too."""
        if signals.now.is_set():
            watchdog.hurry(most=_HURRIED_TICKS)
        elif self._setup is not None and not self._setup.done():
            watchdog.hurry(most=_GIVEN_UP_TICKS, status=0)  # it may wait for a disk that never answers
        else:
            watchdog.hurry(most=_ENDING_TICKS)
        closing = asyncio.create_task(self._close(runner))
        hurried = asyncio.create_task(signals.now.wait())
        try:
            await asyncio.wait([closing, hurried], return_when=asyncio.FIRST_COMPLETED)
            if hurried.done():
                watchdog.hurry(most=_HURRIED_TICKS)
        finally:
            hurried.cancel()
            await closing

    async def _close(self, runner: web.AppRunner) -> None:
        if self._setup is not None and not self._setup.done():
            self._setup.cancel()
            await asyncio.gather(self._setup, return_exceptions=True)
        await runner.cleanup()

    async def _set_up(self, runner: web.AppRunner, signals: Signals) -> bool:
        """Open every room; False where a signal to stop comes before that is done."""
        self._setup = asyncio.create_task(runner.setup(), name="setup")
        stop = asyncio.create_task(signals.stop.wait())
        try:
            await asyncio.wait([self._setup, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if self._setup.done():
            self._setup.result()
            return True
        logger.info("shutting down: the start is broken off")
        return False

    async def _begun(self, runner: web.AppRunner, signals: Signals) -> int:
        try:
            if not await self._set_up(runner, signals):
                return 0
        except (CacheFull, CacheUnusable) as error:
            logger.error("cannot start: %s It is %s.", error, self._current.now.cache_dir)
            return _WRONG
        for listener in self._listeners:
            listeners.listen_again(listener)
            await web.SockSite(runner, listener, backlog=listeners.BACKLOG).start()
        address = _address(runner)
        logger.info("listening on %s", address)
        _rarely_collect()
        if self._announce is not None:
            self._announce(address)
        tally = self._app[keys.TALLY]
        async with AsyncExitStack() as stack:
            watch = partial(self._app[keys.CONNECTIONS].watch, _server(runner))
            await stack.enter_async_context(kept(watch, name="connections", tally=tally))
            if self._reread is not None:
                reload = Reload(self._current, self._reread, apply=self._apply)
                work = partial(reload.run, signals.hangup)
                await stack.enter_async_context(kept(work, name="settings", tally=tally))
            return await self._served(runner, signals)

    async def _served(self, runner: web.AppRunner, signals: Signals) -> int:
        """Wait for the end and bring it about; the exit status."""
        hopeless = self._app[keys.VITALS].hopeless
        await _first_of(signals.stop, hopeless)
        shutdown = Shutdown(runner, self._listeners, drain=self._app[keys.DRAIN], now=signals.now)
        settings = self._current.now
        grace = settings.grace if signals.patient and signals.stop.is_set() else 0.0
        await shutdown.run(grace=grace, seconds=settings.drain_seconds)
        return _UNABLE if hopeless.is_set() or signals.now.is_set() else 0

    def _apply(self, settings: Settings) -> None:
        logs.configure(settings.log_level, settings.log_format, process=self._process)
        app.change(self._app, settings)


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


def _server(runner: web.AppRunner) -> web.Server:
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    return runner.server


def _rarely_collect() -> None:
    """Keep the garbage collector from what stays for good, and from looking at requests ever so often.

    It took a twentieth of the time under load, and found nothing: requests leave no cycles.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
