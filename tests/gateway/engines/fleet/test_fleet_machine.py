"""A fleet of played nodes: no request is lost, answered twice, run a third time or given another's answer."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.domain.refs import ModelRef, parse_selector
from tests.gateway.engines.fleet.harness import LIMITS, fleet, key
from tests.workers.stateful.effort import effort
from workers.errors import (
    CapacityExceeded,
    ModelError,
    ModelLoadError,
    ModelNotLoaded,
    NoNodes,
    PredictionTimeout,
    WorkerCrashed,
)
from workers.protocol.messages import Job, NextChunk

if TYPE_CHECKING:
    import asyncio

    from tests.support.played_nodes import PlayedNode

INDEXES = st.integers(0, 1_000)  # modulo the number of those to choose from
MODELS = st.sampled_from(["k", "l", "m"])
PAUSES = st.sampled_from([0.0, 0.001, 0.3, 1.1, 3.6, 12.0])
# What is right at any time, since a state of the nodes that explains it may have passed meanwhile.
EXPLAINED = (CapacityExceeded, ModelLoadError, ModelNotLoaded, NoNodes, PredictionTimeout, WorkerCrashed)


@dataclass(eq=False)
class Client:
    """A client's request and the errors of its model, as nodes sent them."""

    name: bytes
    task: asyncio.Task[Any]
    errors: list[str] = field(default_factory=list)
    cancelled: bool = False
    checked: bool = False


class FleetMachine(RuleBasedStateMachine):
    """Clients come and go; nodes come, go, hang, fill up, refuse and evict."""

    def __init__(self) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.clients: list[Client] = []
        self.count = 0

    @initialize(count=st.integers(1, 3), replicas=st.sampled_from([1, 1, 2]), slow=st.booleans())
    def begin(self, count: int, replicas: int, slow: bool) -> None:
        """Some nodes are there."""
        limits = LIMITS if replicas == 1 else type(LIMITS)(replicas=replicas, request_seconds=20.0)
        self.fleet = self.resources.enter_context(fleet(count, limits))
        for node in self.fleet.nodes:
            node.slow = slow

    # What clients do

    @rule(model=MODELS, count=st.integers(1, 3), seconds=PAUSES)
    def predict(self, model: str, count: int, seconds: float) -> None:
        """Some clients ask for predictions."""
        for _ in range(count):
            self.count += 1
            name = f"{model} {self.count}".encode()
            ref = ModelRef(model, parse_selector("1"))
            self.clients.append(Client(name, self.fleet.start(self.fleet.service.predict(ref, Job(name)))))
        self.fleet.loop.advance(seconds)

    @rule(model=MODELS, chunks=st.integers(1, 3), seconds=PAUSES)
    def stream(self, model: str, chunks: int, seconds: float) -> None:
        """A client opens a stream, and closes it after some chunks."""
        self.count += 1
        name = f"{model} {self.count}".encode()
        self.clients.append(Client(name, self.fleet.start(self.read(model, name, chunks))))
        self.fleet.loop.advance(seconds)

    async def read(self, model: str, name: bytes, chunks: int) -> list[bytes]:
        async with self.fleet.service.stream(ModelRef(model, parse_selector("1")), Job(name)) as result:
            return [await anext(result.chunks) for _ in range(chunks)]

    @precondition(lambda self: self.waiting())
    @rule(index=INDEXES)
    def leave(self, index: int) -> None:
        """A client goes away."""
        client = self.waiting()[index % len(self.waiting())]
        client.cancelled = True
        client.task.cancel()
        self.fleet.loop.advance(0.001)

    # What nodes do

    @precondition(lambda self: any(node.jobs for node in self.fleet.nodes))
    @rule(index=INDEXES, fails=st.sampled_from([False, False, True]), deliver=st.booleans())
    def answer(self, index: int, fails: bool, deliver: bool) -> None:
        """A node answers one request; the answer may be on its way when the next thing happens."""
        busy = [node for node in self.fleet.nodes if node.jobs and not node.hung]
        if not busy:
            return
        node = busy[index % len(busy)]
        job = node.jobs[index % len(node.jobs)]
        text = f"It refuses {job.id}."
        for client in self.clients:
            if fails and (isinstance(job.request, NextChunk) or client.name == job.body):
                client.errors.append(text)  # of whose stream the next chunk is, no node knows
        self.fleet.loop.call(lambda: node.answer(job, ModelError(text) if fails else None))
        if deliver:
            self.fleet.loop.advance(0.001)

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        """Time passes; a silent node is lost, and a request that none answers times out."""
        self.fleet.loop.advance(seconds)

    @rule(index=INDEXES)
    def finish_loads(self, index: int) -> None:
        """A node ends its loads."""
        node = self.node(index)
        if not node.hung:
            self.fleet.loop.call(node.finish_loads)
        self.fleet.loop.advance(0.001)

    @rule(index=INDEXES, seconds=PAUSES)
    def die(self, index: int, seconds: float) -> None:
        """A node ends."""
        self.fleet.loop.call(self.node(index).die)
        self.fleet.loop.advance(seconds)

    @rule(index=INDEXES)
    def come_back(self, index: int) -> None:
        """A node is started again."""
        self.node(index).up = True

    @rule(index=INDEXES)
    def hang(self, index: int) -> None:
        """A node does nothing any more."""
        self.node(index).hung = True

    @rule(index=INDEXES)
    def resume(self, index: int) -> None:
        """It goes on, with all that it was sent meanwhile."""
        self.fleet.loop.call(self.node(index).resume)

    @rule(
        index=INDEXES,
        what=st.sampled_from(["full", "broken", "closing", "draining", "slow"]),
        value=st.booleans(),
    )
    def change(self, index: int, what: str, value: bool) -> None:
        """A node fills up, or its models break, or it begins to shut down."""
        setattr(self.node(index), what, value)

    @rule(index=INDEXES, reason=st.sampled_from(["", "The token is wrong."]))
    def refuse(self, index: int, reason: str) -> None:
        """A node refuses, or no longer refuses, new links."""
        self.node(index).refuses = reason

    @rule(index=INDEXES, model=MODELS)
    def evict(self, index: int, model: str) -> None:
        """A node unloads a model, which its state says within a second."""
        self.node(index).evict(key(model))

    @rule(index=INDEXES, model=MODELS, wanted=st.integers(1, 3))
    def want(self, index: int, model: str, wanted: int) -> None:
        """A node wants a model on more or fewer nodes."""
        self.node(index).wanted[key(model)] = wanted

    @rule(index=INDEXES, keep=st.booleans())
    def change_members(self, index: int, keep: bool) -> None:
        """A node leaves the fleet, or all are members."""
        node = self.node(index)
        others = [other for other in self.fleet.nodes if other is not node]
        self.fleet.set_members(*(others if not keep and others else self.fleet.nodes))
        self.fleet.loop.advance(0.001)

    @rule(model=MODELS)
    def unload(self, model: str) -> None:
        """An operator unloads a model everywhere."""
        task = self.fleet.start(self.fleet.engine.unload(key(model)))
        self.resources.callback(task.cancel)

    # What must be true

    @invariant()
    def every_outcome_is_right(self) -> None:
        """Each client got its own answer, or an error that has a reason; no request ran three times."""
        if not hasattr(self, "fleet"):
            return
        given = Counter(body for node in self.fleet.nodes for body in node.given)
        for client in self.clients:
            assert given[client.name] <= 2, "it ran a third time"
            if client.task.done() and not client.checked:
                client.checked = True
                self.check(client)
        assert not self.fleet.loop.errors, self.fleet.loop.errors

    def check(self, client: Client) -> None:
        if client.task.cancelled():
            assert client.cancelled, "cancelled, but not by its client"
            return
        error = client.task.exception()
        if error is None:
            self.check_answer(client)
        elif isinstance(error, ModelError):
            assert str(error) in client.errors, "another's error"
        else:
            assert isinstance(error, EXPLAINED), (client.name, error)

    def check_answer(self, client: Client) -> None:
        result = client.task.result()
        if isinstance(result, list):
            assert result[0] == b"first of " + client.name, "another's stream"
            assert len(set(result[1:])) <= 1, "chunks of two streams"
        else:
            assert result.reply.body == b"answer to " + client.name, "another's answer"

    def teardown(self) -> None:
        """When the nodes are well again, each request is answered, and a new one is answered well."""
        with self.resources:
            if hasattr(self, "fleet"):
                self.recover()

    def recover(self) -> None:
        nodes = self.fleet.nodes
        self.fleet.set_members(*nodes)
        for node in nodes:
            node.up, node.refuses = True, ""
            node.full = node.broken = node.closing = node.draining = node.slow = False
            self.fleet.loop.call(node.resume)
            self.fleet.loop.call(node.beat)
        for _ in range(400):
            for node in nodes:
                self.fleet.loop.call(node.finish_loads)
                self.fleet.loop.call(node.answer_all)
            self.fleet.loop.advance(0.2)
            self.every_outcome_is_right()
            if not self.waiting() and len(self.fleet.engine._roster.connected) == len(nodes):
                break
        else:
            pytest.fail(f"{[client.name for client in self.waiting()]} wait; {self.fleet.engine.nodes()}")
        self.answers_again()

    def answers_again(self) -> None:
        self.predict("k", 3, 0.1)
        for node in self.fleet.nodes:
            self.fleet.loop.call(node.answer_all)
        self.fleet.loop.advance(0.1)
        self.every_outcome_is_right()
        for client in self.clients[-3:]:
            assert client.task.exception() is None
        assert not any(node.open_streams for node in self.fleet.nodes), "a stream that no client reads"

    def waiting(self) -> list[Client]:
        return [client for client in self.clients if not client.task.done()]

    def node(self, index: int) -> PlayedNode:
        return self.fleet.nodes[index % len(self.fleet.nodes)]


TestFleet = FleetMachine.TestCase
TestFleet.settings = effort(80, 40)
