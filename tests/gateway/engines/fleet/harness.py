"""A fleet's engine over played nodes in virtual time, with the service that retries."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from gateway import settings
from gateway.concurrency.singleflight import SingleFlight
from gateway.domain.models import ModelVersion, Resolution
from gateway.domain.refs import ModelRef, parse_selector
from gateway.engines.fleet.engine import FleetEngine
from gateway.engines.fleet.limits import FleetLimits
from gateway.engines.fleet.link import Greeting
from gateway.engines.members import Member
from gateway.errors import ArtifactLocationForbidden
from gateway.serving.service import PredictionService
from tests.support.played_nodes import PlayedConnector, PlayedMembers, PlayedNode
from tests.workers.stateful.virtual_time import VirtualTimeLoop
from workers.metrics import Counters
from workers.protocol.messages import Job, ModelKey

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

LIMITS = FleetLimits(request_seconds=20.0, patience_seconds=2.0)
BEAT_SECONDS = 1.0


def version(name: str) -> ModelVersion:
    """Return version 1 of a model."""
    return ModelVersion(name, "1", "registry", "READY", f"models:/{name}/1", f"fingerprint-{name}")


def key(name: str) -> ModelKey:
    """Return its key."""
    return version(name).key


class KnownVersions:
    """A catalog that knows version 1 of every model."""

    def resolve_cached(self, ref: ModelRef) -> Resolution:
        """Return it."""
        return Resolution(version(ref.name))


class FleetHarness:
    """An engine and a service over the nodes `a`, `b` and so on, which beat each second while they live."""

    def __init__(self, loop: VirtualTimeLoop, count: int, limits: FleetLimits) -> None:
        self.loop = loop
        self.nodes = [PlayedNode(name) for name in "abcdefg"[:count]]
        self.members = PlayedMembers(*(Member(node.name, node.name) for node in self.nodes))
        self.counters = Counters()
        self.limits = limits
        self.located: list[ModelKey] = []
        self.forbidden: set[str] = set()
        self.engine = FleetEngine(
            self.members,
            PlayedConnector(*self.nodes),
            greeting=Greeting("gateway", "1.0"),
            limits=lambda: self.limits,
            locate=self._locate,
            check=self._check,
            counters=self.counters,
        )
        values = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}
        self.loads: SingleFlight[ModelKey] = SingleFlight()
        self.service = PredictionService(
            cast("Any", KnownVersions()),
            self.engine,
            single_flight=self.loads,
            settings=settings.CurrentSettings(settings.load(values)),
            counters=self.counters,
        )
        self._tasks = [loop.create_task(self.engine.run()), loop.create_task(self._beat())]
        loop.advance(0.01)

    async def _locate(self, key: ModelKey) -> ModelVersion | None:
        self.located.append(key)
        return version(key.name)

    async def _check(self, version: ModelVersion) -> None:
        if version.name in self.forbidden:
            raise ArtifactLocationForbidden("The files are another version's.")

    async def _beat(self) -> None:
        while True:
            for node in self.nodes:
                node.beat()
            await asyncio.sleep(BEAT_SECONDS)

    def named(self, name: str) -> PlayedNode:
        """Return a node."""
        return next(node for node in self.nodes if node.name == name)

    def set_members(self, *nodes: PlayedNode) -> None:
        """Have these nodes as members from now on."""
        members = [Member(node.name, node.name) for node in nodes]
        self.loop.call(lambda: self.members.change(*members))

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a call, and let what it sends arrive."""
        task = self.loop.create_task(coroutine)
        self.loop.advance(0.001)
        return task

    def predict(self, name: str, body: bytes = b"1") -> asyncio.Task[Any]:
        """Have a client ask the service for a prediction of version 1 of a model."""
        ref = ModelRef(name, parse_selector("1"))
        return self.start(self.service.predict(ref, Job(body)))

    def warm(self, name: str) -> PlayedNode:
        """Load a model, and return the node that has it."""
        task = self.predict(name, b"first")
        self.loop.advance(0.01)
        node = next(node for node in self.nodes if node.jobs)
        node.answer_all()
        self.loop.advance(0.01)
        assert task.result().reply.body == b"answer to first"
        return node

    def order(self, name: str) -> list[PlayedNode]:
        """Return the nodes in the order in which they should have a model, of the connected ones."""
        return [self.named(node.name) for node in self.engine._roster.order(key(name))]

    def answer_all(self) -> None:
        """Have all nodes answer, and the answers arrive."""
        for node in self.nodes:
            node.answer_all()
        self.loop.advance(0.001)

    def close(self) -> None:
        """End it; no task and no error is left."""
        for task in self._tasks:
            task.cancel()
        self.loop.advance(0.0)
        self.loop.run(self.loads.close())
        self.loop.run(self.service.close())
        self.loop.run(self.engine.close(drain_seconds=0.0))
        self.loop.advance(0.01)
        left = asyncio.all_tasks(self.loop)
        assert not left, left
        assert not self.loop.errors, self.loop.errors


@contextmanager
def fleet(count: int = 3, limits: FleetLimits = LIMITS) -> Iterator[FleetHarness]:
    """Yield a harness over this number of nodes."""
    loop = VirtualTimeLoop()
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    asyncio.set_event_loop(loop)
    try:
        harness = FleetHarness(loop, count, limits)
        yield harness
        harness.close()
    finally:
        loop.cancel_all()
        asyncio.set_event_loop(None)
        loop.close()
