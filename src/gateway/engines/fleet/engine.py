"""The engine of a fleet: models are loaded and predict on nodes, to which this process sends requests."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.engines.fleet import merged
from gateway.engines.fleet.loading import FleetLoader
from gateway.engines.fleet.moves import Moves
from gateway.engines.fleet.node import NodeContext
from gateway.engines.fleet.pins import Pins
from gateway.engines.fleet.roster import Roster
from gateway.engines.fleet.routes import Routes
from gateway.engines.fleet.view import FleetView
from gateway.engines.wire.control import Probe, Unload
from gateway.errors import GatewayError
from workers.errors import ModelNotLoaded, ModelPinned, NodeLost, PoolClosed, WorkerCrashed, WorkerError
from workers.prediction_stream import PredictionStream
from workers.protocol.messages import Chunk, NextChunk, Reply
from workers.spawn_health import SpawnHealth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from gateway.domain.models import ModelVersion
    from gateway.engines.engine import Order
    from gateway.engines.fleet.connector import Connector
    from gateway.engines.fleet.limits import FleetLimits
    from gateway.engines.fleet.link import Greeting, Link
    from gateway.engines.fleet.node import FleetNode
    from gateway.engines.members import Member, Members
    from gateway.engines.node_report import NodeReport
    from workers.metrics import Counters
    from workers.protocol.messages import Job, ModelKey

_CHECK_SECONDS: Final = 0.25
_MOVE_SECONDS: Final = 1.0
_WITHOUT_NODES: Final = 3  # failed starts in a row: no model can be loaded
_LOST: Final = "The node that ran the request was lost."


class FleetEngine:
    """An engine that sends requests to the nodes where their model is warm, and loads on the best node."""

    def __init__(
        self,
        members: Members,
        connector: Connector,
        *,
        greeting: Greeting,
        limits: Callable[[], FleetLimits],
        locate: Callable[[ModelKey], Awaitable[ModelVersion | None]],
        check: Callable[[ModelVersion], Awaitable[object]],
        counters: Counters,
        has_names: bool = True,
    ) -> None:
        """`locate` returns a version that another gateway has loaded, or None if it is gone.

        `check` raises GatewayError for a version that this gateway does not have loaded, by its settings.
        If the only node is a process of this machine, it has no name for clients: `has_names` is False.
        """
        self._members = members
        self._connector = connector
        self._limits = limits
        self._counters = counters
        self._check = check
        self._closed = False
        self._roster = Roster()
        self._context = NodeContext(connector, greeting, self, limits, counters)
        self._routes = Routes(self._roster.order, replicas_for=lambda wanted: limits().replicas_for(wanted))
        self._loader = FleetLoader(self._roster, limits=limits, counters=counters)
        self._moves = Moves(self._roster, self._routes, self._loader, locate=locate, counters=counters)
        self._pins = Pins(self._routes)
        self.spawn_health = SpawnHealth()
        self.notify_owners_changed = self._loader.notify_owners_changed
        self.is_loaded = self._routes.__contains__
        view = FleetView(self._roster, has_names=has_names)
        self.status, self.statuses, self.failures = view.status, view.statuses, view.failures
        self.memory_report, self.device_reports = view.memory_report, view.device_reports
        self.environment, self.find_environment = view.environment, view.find_environment
        self._on_health()

    # The life of the engine

    async def open(self) -> None:
        """Do nothing: `run` links to the nodes."""

    async def run(self) -> None:
        """Follow the members of the fleet, watch the links, and load in the background, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._members.watch(self._on_members), name="members of the fleet")
            group.create_task(self._check_forever(), name="links to nodes")
            group.create_task(self._move_forever(), name="models on nodes")

    async def close(self, *, drain_seconds: float) -> None:
        """Take no more requests, wait `drain_seconds` for answers, and end all links."""
        self._closed = True
        waiting = [answer for node in self._roster.nodes for answer in node.waiting]
        if waiting and drain_seconds:
            await asyncio.wait(waiting, timeout=drain_seconds)
        await self._moves.close()
        await self._roster.close()

    async def _check_forever(self) -> None:
        last = self._now()
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = self._now()
            late = now - last > 2 * _CHECK_SECONDS + 0.5
            last = now
            for node in self._roster.nodes:
                node.check(now, late=late)
            self._roster.remove_left(now)
            self._on_health()

    async def _move_forever(self) -> None:
        while True:
            await asyncio.sleep(_MOVE_SECONDS)
            self._moves.consider([*self._pins.keys, *self._routes.take_used()])

    # Requests

    async def predict(self, key: ModelKey, job: Job) -> Reply:
        """Return the reply of a node where the version is warm.

        Raise NodeLost if the node is lost meanwhile: the request may run once more, on another one.
        """
        node = self._routes.choose(key)
        try:
            reply = await node.link.request(key, job)
        except (ModelNotLoaded, PoolClosed) as error:
            raise self._explain(error, node, key) from None
        if type(reply) is not Reply:
            raise WorkerCrashed("The node's reply does not fit the request.")
        return reply

    async def stream(self, key: ModelKey, job: Job) -> PredictionStream:
        """Return the reply of a node where the version is warm in chunks; the first one is there."""
        node = self._routes.choose(key)
        link = node.link
        try:
            stream_id, first = await link.open_stream(key, job)
        except (ModelNotLoaded, PoolClosed) as error:
            raise self._explain(error, node, key) from None
        if type(first) is not Chunk:
            raise WorkerCrashed("The node's reply does not fit the request.")
        return PredictionStream(
            first,
            request_next=partial(_next_chunk, link, key, stream_id),
            on_close=partial(link.close_stream, key, stream_id),
        )

    def _explain(self, error: WorkerError, node: FleetNode, key: ModelKey) -> WorkerError:
        """Return what the service should do about a request that a node did not run."""
        if self._closed:
            return PoolClosed("The gateway is shutting down.")
        if isinstance(error, NodeLost):
            if not self._limits().retry:
                return WorkerCrashed(_LOST)
            return error
        node.mark_cold(key, evicted=True)
        return ModelNotLoaded(f"{key} is not loaded.")

    # Models

    async def load(self, order: Order) -> float:
        """Load a version on the best node that has room; return the seconds of its download."""
        if self._closed:
            raise PoolClosed("The gateway is shutting down.")
        version = order.version
        if version.key in self._routes:
            return 0.0
        await self._check(version)
        seconds = await self._loader.load(order)
        self._moves.remember(version)
        return seconds

    async def unload(self, *keys: ModelKey) -> None:
        """Unload versions from all nodes. Raise ModelPinned if any is pinned, and unload none then."""
        if pinned := [str(key) for key in keys if key in self._pins.keys]:
            raise ModelPinned(f"{', '.join(pinned)} is pinned by the gateway's settings and stays loaded.")
        await self._moves.forget(*keys)
        calls = [self._unload_on(node, keys) for node in self._roster.connected]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, NodeLost):
                raise outcome

    async def _unload_on(self, node: FleetNode, keys: Collection[ModelKey]) -> None:
        known = tuple(key for key in keys if key in node.warm)
        if known:
            call = node.link.call(lambda call_id: Unload(call_id, known))
            await call
            for key in known:
                node.mark_cold(key, evicted=False)

    def pin(self, key: ModelKey) -> None:
        """Have no node evict a version that gets its requests."""
        self._pins.add(key)
        self._pins.tell(self._roster.connected)

    def unpin(self, key: ModelKey) -> None:
        """Let a version be evicted again."""
        self._pins.discard(key)
        self._pins.tell(self._roster.connected)

    @property
    def pinned(self) -> frozenset[ModelKey]:
        """The versions that are never evicted."""
        return frozenset(self._pins.keys)

    async def probe_spawn(self) -> None:
        """Have each node start and end a process that does nothing; its state tells the outcome."""
        calls = [node.link.call(Probe) for node in self._roster.connected]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, WorkerError | GatewayError):
                raise outcome

    def notify_limits_changed(self) -> None:
        """Do nothing: each limit is read when it is needed, and the nodes have settings of their own."""

    # What the nodes tell

    @property
    def has_warm_models(self) -> bool:
        """Whether any model is warm on a connected node."""
        return any(self._routes)

    @property
    def running_environments(self) -> frozenset[str]:
        """The digests of the environments that have processes on any node."""
        return frozenset[str]().union(*(node.state.running_environments for node in self._roster.connected))

    @property
    def environments_bytes(self) -> int:
        """The disk that environments take on all nodes."""
        return sum(node.state.environments_bytes for node in self._roster.connected)

    def nodes(self) -> list[NodeReport]:
        """Return how each node is seen from here, by name."""
        return sorted((node.report() for node in self._roster.nodes), key=lambda report: report.name)

    def may_have_environment(self, version: ModelVersion) -> bool:
        """Return True: whether it may is in the settings of the nodes."""
        del version
        return True

    # What nodes report

    def on_connected(self, node: FleetNode) -> None:
        """Route to a node that is connected now."""
        self._roster.on_connected()
        self.on_changed(node, node.warm)

    def on_changed(self, node: FleetNode, keys: Iterable[ModelKey]) -> None:
        """Route by what a node has now."""
        self._routes.update(node, keys)
        self._pins.tell(self._roster.connected)
        self._on_health()
        if not node.draining:
            self._roster.notify()

    def on_disconnected(self, node: FleetNode, keys: Collection[ModelKey]) -> None:
        """Route past a node that was lost."""
        self._roster.on_disconnected()
        self._routes.update(node, keys)
        self._pins.forget(node)
        self._pins.tell(self._roster.connected)
        self._on_health()

    def _on_health(self) -> None:
        self.spawn_health.failures = merged.spawn_failures(
            self._roster.connected, without_nodes=_WITHOUT_NODES
        )

    def _on_members(self, members: frozenset[Member]) -> None:
        self._roster.set_members(members, self._context)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _next_chunk(link: Link, key: ModelKey, stream_id: int) -> Chunk:
    """Return the next chunk of a stream. A stream that has begun does not run again elsewhere."""
    try:
        chunk = await link.request(key, NextChunk(stream_id))
    except NodeLost:
        raise WorkerCrashed(_LOST) from None
    if type(chunk) is not Chunk:
        raise WorkerCrashed("The node's reply does not fit the request.")
    return chunk
