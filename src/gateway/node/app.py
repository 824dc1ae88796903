"""The composition root of a node: builds its components, opens them in order, and closes them in reverse."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from gateway.api.body.memory_limit import BodyMemoryLimit
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.concurrency.background import supervised_task
from gateway.engines.factory import create_local_engine
from gateway.engines.wire.control import NodeHello
from gateway.engines.wire.protocol import NEWEST
from gateway.errors import INTERNAL_ERRORS
from gateway.mlflow_client import MlflowClient
from gateway.model_files.version_files import VersionFiles
from gateway.node.confirmation import VersionConfirmation
from gateway.node.loads import NodeLoads
from gateway.node.pins import NodePins
from gateway.node.session import NodeParts, Session
from gateway.node.state import StateFeed
from gateway.node.utilisation import Utilisation
from gateway.serving.worker_health import WorkerHealth
from gateway.settings import wall_policy
from gateway.settings.capacity import memory_budget_bytes
from gateway.system import resources
from gateway.system.wall import wall_status
from gateway.telemetry.metrics.event_loop_lag import EventLoopLag
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.engines.transports.protocol import Transport
    from gateway.settings import CurrentSettings

_DISTRIBUTION: Final = "model-invocation-endpoint"
_POLL_SECONDS: Final = 0.02
_QUIET_SECONDS: Final = 0.3  # without a request, after which the gateways have heard that the node drains


class Node:
    """A node: an engine for the gateways that are linked to it."""

    def __init__(self, current: CurrentSettings, *, name: str | None = None) -> None:
        """`name` is in place of the one by the settings."""
        settings = current.value
        self.settings = current
        self.counters = Counters()
        self.counters.increment(INTERNAL_ERRORS, "event loop", times=0)
        self.name = name or settings.node.chosen_name
        self.wall = wall_status(wall_policy(settings))
        self.event_loop_lag = EventLoopLag()
        self._mlflow = MlflowClient(settings.mlflow)
        self._catalog = Catalog(self._mlflow, current, counters=self.counters)
        self._artifacts = ArtifactCache(
            settings, self._mlflow, counters=self.counters, workers_cannot_write=self.wall.complete
        )
        self._files = VersionFiles(self._catalog, self._artifacts)
        self.engine = create_local_engine(
            current,
            self._catalog,
            self._artifacts,
            files=self._files,
            answer_memory=BodyMemoryLimit(settings.body_memory_bytes, counters=self.counters),
            counters=self.counters,
        )
        self.worker_health = WorkerHealth(self.engine)
        fleet = settings.fleet
        self.feed = StateFeed(self.engine, Utilisation(least=fleet.replicas, most=fleet.replicas_max))
        self._sessions: set[Session] = set()
        self._parts = NodeParts(
            engine=self.engine,
            loads=NodeLoads(self.engine, VersionConfirmation(self._catalog, self._artifacts).confirm),
            pins=NodePins(self.engine),
            feed=self.feed,
            hello=self._hello,
            max_body_bytes=settings.body_memory_bytes,
            on_end=self._sessions.discard,
        )
        self._refuses = False

    @property
    def ready(self) -> bool:
        """Whether the node can load models."""
        return not self.feed.draining and self.worker_health.healthy

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the components, and close them at the end. Raise CacheFull or CacheUnusable.

        `name` must be set before the first link: to what the operator chose, or to the address.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._mlflow)
            stack.push_async_callback(self._catalog.close)
            stack.push_async_callback(self._artifacts.close)
            await self._artifacts.open()
            stack.push_async_callback(self._files.close)
            stack.push_async_callback(self.engine.close, drain_seconds=0)
            await self.engine.open()
            stack.push_async_callback(self._parts.loads.close)
            stack.callback(self._parts.pins.close)
            stack.callback(self._close_sessions)
            for name, work in (
                ("reach MLflow", self._catalog.reconnect_forever),
                ("vitals", self.worker_health.run),
                ("event loop lag", self.event_loop_lag.run),
                ("engine", self.engine.run),
                ("state", self.feed.run),
            ):
                await stack.enter_async_context(supervised_task(work, name=name, counters=self.counters))
            yield

    def accept(self, transport: Transport) -> Session:
        """Return the receiver of a new link."""
        session = Session(self._parts, transport)
        self._sessions.add(session)
        if self._refuses:
            session.refuse_jobs()
        return session

    async def drain(self, *, grace: float, seconds: float, force: asyncio.Event) -> None:
        """Tell all gateways that the node ends, and wait until what they have asked for is answered.

        Loads are refused at once, and further requests after `grace` seconds: until then a gateway may not
        have heard it. The wait ends after `seconds`, or when `force` is set.
        """
        self.feed.draining = True
        self._parts.loads.refuse()
        loop = asyncio.get_running_loop()
        started = quiet_since = loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._sessions and not force.is_set():
                    now = loop.time()
                    if any(session.busy for session in self._sessions):
                        quiet_since = now
                    elif now - quiet_since >= _QUIET_SECONDS:
                        return
                    if now - started >= grace and not self._refuses:
                        self._refuse_jobs()
                    await asyncio.sleep(_POLL_SECONDS)

    def _refuse_jobs(self) -> None:
        self._refuses = True
        for session in self._sessions:
            session.refuse_jobs()

    def _close_sessions(self) -> None:
        for session in list(self._sessions):
            session.close("the node ends")

    def _hello(self) -> NodeHello:
        settings = self.settings.value
        return NodeHello(
            node=self.name,
            protocol=NEWEST,
            product=version(_DISTRIBUTION),
            memory_budget_bytes=memory_budget_bytes(settings),
            cores=resources.available_cores(),
            workers_per_model=settings.workers_per_model,
            pid=os.getpid(),
        )
