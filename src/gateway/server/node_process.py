"""Run a node of a fleet in this process, until a signal or until it cannot continue."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from gateway.concurrency.background import install_exception_handler, supervised_task
from gateway.errors import CacheFull, CacheUnusable
from gateway.node.app import Node
from gateway.server import confinement
from gateway.server.gc_tuning import tune_gc
from gateway.server.heartbeat import Heartbeat
from gateway.server.process_run import run_in_loop
from gateway.server.signals import SignalEvents
from gateway.server.waiting import wait_first
from gateway.server.watchdog import SHUTDOWN_HUNG
from gateway.settings import CurrentSettings
from gateway.settings.reload import SettingsReloader
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engines.transports.link_server import Accept
    from gateway.server.watchdog import Watchdog
    from gateway.settings import Settings
    from gateway.telemetry.metrics.collector import SnapshotSlot
    from workers.metrics import Counters

logger = logging.getLogger(__name__)

_HANG_SECONDS: Final = 60.0
_SHUTDOWN_SECONDS: Final = 10.0
_ABORTED_START_SECONDS: Final = 5.0
_FORCED_SHUTDOWN_SECONDS: Final = 3.0
_WILDCARDS: Final = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 - to be recognised
_EXIT_FAILURE: Final = 1
_EXIT_MISCONFIGURED: Final = 2


class LinkServer(Protocol):
    """Accepts links of gateways."""

    async def open(self) -> str:
        """Listen, and return the address in words. Raise OSError."""

    async def close(self) -> None:
        """Accept no more links, and end those that are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """The surroundings of a node.

    `link_server` returns what accepts links, each of which is given to its first argument. The node then
    calls `announce` with the address. At SIGHUP it calls `read_settings`; if that is None, it does not handle
    SIGHUP. A supervisor watches `heartbeat`. The process ends if its event loop does not run for
    `hang_seconds`. `slot` is its place among the processes of one machine that share it. `name` is in place
    of the one by the settings.
    """

    link_server: Callable[[Accept, Counters], LinkServer]
    announce: Callable[[str], None] | None = None
    read_settings: Callable[[], Settings] | None = None
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    hang_seconds: float = _HANG_SECONDS
    slot: SnapshotSlot | None = None
    name: str | None = None

    @property
    def number(self) -> int | None:
        """The number of the process among those that share it, or None."""
        return self.slot.number if self.slot else None


def run(settings: Settings, context: NodeContext) -> int:
    """Serve gateways until SIGTERM or SIGINT, and return the exit status.

    The first signal lets requests in progress finish within the drain time (status 0), a second one aborts
    them (status 1). The node does not start if its cache folder, its folder for temporary files or its
    address cannot be used (status 2). It ends by itself if its event loop hangs, or if it can start no worker
    process any more (status 1).
    """
    return run_in_loop(
        settings,
        lambda watchdog: _NodeRun(settings, context, watchdog).run(),
        number=context.number,
        hang_seconds=context.hang_seconds,
    )


def _default_name(address: str) -> str:
    """Return the address, with this machine's name in place of all interfaces."""
    host, _, port = address.rpartition(":")
    return f"{socket.gethostname()}:{port}" if host in _WILDCARDS else address


class _NodeRun:
    """One run of a node, from its start to its end."""

    def __init__(self, settings: Settings, context: NodeContext, watchdog: Watchdog) -> None:
        self._settings = CurrentSettings(settings)
        self._context = context
        self._watchdog = watchdog
        self._opened = False
        self._heartbeat = ExitStack()

    async def run(self) -> int:
        """Serve to the end, and return the exit status."""
        node = Node(self._settings, name=self._context.name)
        install_exception_handler(node.counters)
        signals = SignalEvents(handle_sighup=self._context.read_settings is not None)
        postpone = partial(self._watchdog.set_deadline, self._context.hang_seconds)
        with self._heartbeat:
            self._heartbeat.enter_context(self._context.heartbeat.beating(on_beat=postpone))
            serving = asyncio.create_task(self._serve_to_end(node, signals), name="node")
            stopped = asyncio.create_task(signals.stop.wait(), name="signal to stop")
            await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not serving.done() and not self._opened:
                return await self._abort_start(serving)
            return await serving

    async def _abort_start(self, serving: asyncio.Task[int]) -> int:
        """Cancel a start, which may wait for a disk that never answers: no failure of the shutdown."""
        logger.info("Shutting down: the start is aborted", extra={"event": "start_aborted"})
        self._set_last_deadline(_ABORTED_START_SECONDS, status=0)
        serving.cancel()
        await asyncio.wait([serving])
        return 0

    async def _serve_to_end(self, node: Node, signals: SignalEvents) -> int:
        try:
            async with AsyncExitStack() as stack:
                status = await self._serve(node, signals, stack)
                self._set_last_deadline(
                    _FORCED_SHUTDOWN_SECONDS if signals.force.is_set() else _SHUTDOWN_SECONDS
                )
        except (CacheFull, CacheUnusable) as error:
            message = "Cannot start: %s It is %s"
            cache_dir = self._settings.value.cache_dir
            logger.error(message, error, cache_dir, extra={"event": "start_failed"})
            return _EXIT_MISCONFIGURED
        return _EXIT_FAILURE if signals.force.is_set() else status

    def _set_last_deadline(self, seconds: float, *, status: int = _EXIT_FAILURE) -> None:
        """End the process in `seconds`; no heartbeat postpones that."""
        self._heartbeat.close()
        self._watchdog.set_deadline(seconds, event=SHUTDOWN_HUNG, status=status)

    async def _serve(self, node: Node, signals: SignalEvents, stack: AsyncExitStack) -> int:
        if self._context.slot is not None:
            from gateway.server.node_telemetry import NodeTelemetry  # noqa: PLC0415 - as in _open_pages

            await stack.enter_async_context(NodeTelemetry(node, self._context.slot).running())
        await stack.enter_async_context(node.running())
        self._opened = True
        server = self._context.link_server(node.accept, node.counters)
        stack.push_async_callback(server.close)
        try:
            address = await server.open()
            node.name = node.name or _default_name(address)
            await self._open_pages(node, stack)
        except OSError as error:
            logger.error("Cannot listen: %s", error, extra={"event": "listen_failed"})
            return _EXIT_MISCONFIGURED
        if self._context.read_settings is not None:
            reloader = SettingsReloader(
                self._settings, self._context.read_settings, on_change=partial(self._apply_settings, node)
            )
            reload = partial(reloader.run, signals.reload)
            await stack.enter_async_context(supervised_task(reload, name="settings", counters=node.counters))
        self._report(node, address)
        await wait_first(signals.stop, node.worker_health.fatal)
        await self._drain(node, signals)
        return _EXIT_FAILURE if node.worker_health.fatal.is_set() else 0

    async def _open_pages(self, node: Node, stack: AsyncExitStack) -> None:
        """Serve the pages of health and metrics, if there is a port for them."""
        chosen = self._settings.value.node
        if chosen.metrics_port and self._context.slot is None:
            from gateway.node.http import NodePages  # noqa: PLC0415 - 3 MiB that others do without

            await stack.enter_async_context(NodePages(node).serving(chosen.host, chosen.metrics_port))

    def _report(self, node: Node, address: str) -> None:
        confinement.report(node.wall)
        extra = {"event": "node_listening", "address": address, "node": node.name, "pid": os.getpid()}
        logger.info("Node %s listens for gateways on %s", node.name, address, extra=extra)
        tune_gc()
        if self._context.announce is not None:
            self._context.announce(address)

    async def _drain(self, node: Node, signals: SignalEvents) -> None:
        settings = self._settings.value
        grace = settings.effective_grace_seconds if signals.graceful else 0.0
        logger.info(
            "Shutting down: no new loads, and the gateways know",
            extra={"event": "shutdown_draining", "grace": grace},
        )
        await node.drain(grace=grace, seconds=settings.drain_seconds, force=signals.force)

    def _apply_settings(self, node: Node) -> None:
        settings = self._settings.value
        logs.configure(settings.log_level, settings.log_format, process=self._context.number)
        node.engine.notify_limits_changed()
