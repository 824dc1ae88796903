"""Nodes that a test plays: they speak the wire in this process, and do what the test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.engines.transports.protocol import LinkRefused
from gateway.engines.wire import control
from gateway.engines.wire.messages import (
    Cancel,
    Jobs,
    decode_from_gateway,
    encode_control,
    encode_error,
    encode_replies,
)
from gateway.engines.wire.state import NodeModel, NodeState
from workers.errors import CapacityExceeded, ModelLoadError, ModelNotLoaded, PoolClosed
from workers.pool.status import MemoryReport, ModelStatus
from workers.protocol.messages import Chunk, CloseStream, Job, NextChunk, OpenStream, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.engines.fleet.link import Link
    from gateway.engines.members import Member
    from workers.protocol.messages import ModelKey, WorkerRequest


@dataclass(eq=False)
class PlayedJob:
    """A request that a node was given and has not answered."""

    link: PlayedLink
    id: int
    key: ModelKey
    request: WorkerRequest

    @property
    def body(self) -> bytes:
        """The body of the client's request; empty for a chunk."""
        return _body(self.request)


class PlayedLink:
    """The transport of one link: what either end sends arrives at the other a turn of the loop later."""

    def __init__(self, node: PlayedNode, receiver: Link) -> None:
        self.node = node
        self.keys: dict[int, ModelKey] = {}
        self.pins: frozenset[ModelKey] = frozenset()
        self.closed = False
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()

    # The gateway's end

    def send(self, message: Sequence[bytes | memoryview]) -> None:
        """Bring a message to the node."""
        if not self.closed:
            self._loop.call_soon(self.node.receive, self, b"".join(message))

    @property
    def unsent_bytes(self) -> int:
        """Nothing ever waits."""
        return 0

    def close(self) -> None:
        """End the link, as either end may."""
        self.end("The link was closed.")

    # The node's end

    def tell(self, message: Sequence[bytes | memoryview]) -> None:
        """Bring a message to the gateway."""
        if not self.closed:
            self._loop.call_soon(self._receiver.on_message, b"".join(message))

    def end(self, reason: str) -> None:
        """End the link; its jobs are forgotten."""
        if self.closed:
            return
        self.closed = True
        if self in self.node.links:
            self.node.links.remove(self)
        self.node.jobs = [job for job in self.node.jobs if job.link is not self]
        self.node.open_streams = {opened for opened in self.node.open_streams if opened[0] is not self}
        self._loop.call_soon(self._receiver.on_lost, reason)


class PlayedNode:
    """A node whose models answer `b"answer to " + body`, when the test says.

    `up`: it accepts links. `hung`: it neither reads nor writes. `full`, `broken`, `closing`: how it ends
    loads. `refuses`: why it accepts no gateway. `slow`: it loads when `finish_loads` is called. `done`: it
    takes no more requests, though its state has its models. `told_name`: how it greets.
    """

    def __init__(self, name: str) -> None:
        self.name = self.told_name = name
        self.up = True
        self.hung = self.full = self.broken = self.closing = self.draining = self.slow = False
        self.done = False
        self.refuses = ""
        self.protocol = 1
        self.wanted: dict[ModelKey, int] = {}
        self.warm: set[ModelKey] = set()
        self.failures: dict[ModelKey, str] = {}
        self.spawn_failures = 0
        self.links: list[PlayedLink] = []
        self.jobs: list[PlayedJob] = []
        self.loads: list[tuple[PlayedLink, control.Load]] = []
        self.given: list[bytes] = []
        self.load_count = 0
        self.cancelled: list[int] = []
        self.closed_streams: list[int] = []
        self.open_streams: set[tuple[PlayedLink, int]] = set()
        self.owners: dict[int, tuple[str | None, ...]] = {}
        self._inbox: list[tuple[PlayedLink, bytes]] = []

    # What happens to it

    def die(self) -> None:
        """End at once, with its models and links, as a killed process does."""
        self.up = self.hung = False
        self.warm.clear()
        self.loads.clear()
        self._inbox.clear()
        for link in list(self.links):
            link.end("Connection reset by peer")

    def resume(self) -> None:
        """Read on what came while it hung, as a continued process does."""
        self.hung = False
        inbox, self._inbox = self._inbox, []
        for link, message in inbox:
            self.receive(link, message)

    def beat(self) -> None:
        """Tell its state to all gateways, as it does each second."""
        for link in self.links:
            self._tell_state(link)

    def evict(self, key: ModelKey) -> None:
        """Unload a model, and tell it later."""
        self.warm.discard(key)

    def answer(self, job: PlayedJob, error: Exception | None = None) -> None:
        """Answer a job it was given."""
        self.jobs.remove(job)
        if error is not None:
            job.link.tell(encode_error(job.id, error))
            return
        if isinstance(job.request, OpenStream):
            self.open_streams.add((job.link, job.request.stream_id))
        job.link.tell(encode_replies([job.id], [_reply_to(job.request)]))

    def answer_all(self) -> None:
        """Answer all it was given."""
        for job in list(self.jobs):
            self.answer(job)

    def finish_loads(self) -> None:
        """End the loads that wait."""
        loads, self.loads = self.loads, []
        for link, load in loads:
            self._end_load(link, load)

    # What it reads

    def accept(self, receiver: Link) -> PlayedLink:
        """Return the transport of a new link."""
        link = PlayedLink(self, receiver)
        self.links.append(link)
        return link

    def receive(self, link: PlayedLink, message: bytes) -> None:
        """Take a message of a gateway."""
        if link.closed:
            return
        if self.hung:
            self._inbox.append((link, message))
            return
        content = decode_from_gateway(message)
        if isinstance(content, Jobs):
            for job_id, number, request in zip(*content, strict=True):
                self._take(PlayedJob(link, job_id, link.keys[number], request))
        elif isinstance(content, Cancel):
            self.cancelled.append(content.id)
            self.jobs = [job for job in self.jobs if job.link is not link or job.id != content.id]
        else:
            self._control(link, content)

    def _take(self, job: PlayedJob) -> None:
        if isinstance(job.request, CloseStream):
            self.closed_streams.append(job.request.stream_id)
            self.open_streams.discard((job.link, job.request.stream_id))
            job.link.tell(encode_replies([job.id], [Chunk(None)]))
        elif (self.done or job.key not in self.warm) and not isinstance(job.request, NextChunk):
            job.link.tell(encode_error(job.id, ModelNotLoaded(f"{job.key} is not loaded.")))
        else:
            if job.body:
                self.given.append(job.body)
            self.jobs.append(job)

    def _control(self, link: PlayedLink, message: control.GatewayControl) -> None:
        match message:
            case control.GatewayHello():
                hello = control.NodeHello(self.told_name, self.protocol, "1.0", 2**33, 2, 1, 1)
                link.tell(encode_control(hello))
                self._tell_state(link)
            case control.ModelNumber(number, key):
                link.keys[number] = key
            case control.Load() if self.slow:
                self.loads.append((link, message))
            case control.Load():
                self._end_load(link, message)
            case control.Owners(load_id, owners):
                self.owners[load_id] = owners
            case control.Unload(call_id, keys):
                self.warm.difference_update(keys)
                link.tell(encode_control(control.Done(call_id)))
            case control.Pins(keys):
                link.pins = frozenset(keys)
            case control.Probe(call_id):
                link.tell(encode_control(control.Done(call_id)))

    def _end_load(self, link: PlayedLink, load: control.Load) -> None:
        self.load_count += 1
        error = self._load_error()
        if error is not None:
            link.tell(encode_control(control.Failed(load.id, error)))
            return
        self.warm.add(load.version.key)
        link.tell(encode_control(control.Done(load.id, 0.25)))

    def _load_error(self) -> Exception | None:
        if self.full:
            return CapacityExceeded("Every model slot is busy.")
        if self.broken:
            return ModelLoadError("The model's code raised.", log="a traceback")
        return PoolClosed("The node is shutting down.") if self.closing else None

    def _tell_state(self, link: PlayedLink) -> None:
        if self.hung:
            return
        models = {
            key: NodeModel(ModelStatus("warm", 1, running=len(self.jobs)), self.wanted.get(key, 1))
            for key in self.warm
        }
        memory = MemoryReport(2**33, 100, dict.fromkeys(self.warm, 10), {})
        state = NodeState(
            models,
            self.failures,
            memory,
            spawn_failures=self.spawn_failures,
            draining=self.draining,
        )
        link.tell(encode_control(control.State(state)))


class PlayedConnector:
    """A connector to played nodes, by the address of a member."""

    def __init__(self, *nodes: PlayedNode) -> None:
        self.nodes = {node.name: node for node in nodes}

    async def connect(self, member: Member, receiver: Link) -> PlayedLink:
        """Return a link to a node that is up; one that hangs accepts it, as its system does."""
        node = self.nodes.get(member.address)
        if node is None or not node.up:
            raise ConnectionRefusedError("Connection refused")
        if node.refuses:
            raise LinkRefused(node.refuses)
        return node.accept(receiver)


class PlayedMembers:
    """Members that a test changes."""

    def __init__(self, *members: Member) -> None:
        self.members = frozenset(members)
        self._on_change: Callable[[frozenset[Member]], None] | None = None

    async def watch(self, on_change: Callable[[frozenset[Member]], None]) -> None:
        """Report the members now, and at each `change`."""
        self._on_change = on_change
        on_change(self.members)
        await asyncio.get_running_loop().create_future()

    def change(self, *members: Member) -> None:
        """Have other members from now on."""
        self.members = frozenset(members)
        if self._on_change is not None:
            self._on_change(self.members)


def _body(request: WorkerRequest) -> bytes:
    if isinstance(request, Job):
        return request.body
    return request.job.body if isinstance(request, OpenStream) else b""


def _reply_to(request: WorkerRequest) -> Any:
    if isinstance(request, Job):
        return Reply(b"answer to " + request.body, 0.001)
    if isinstance(request, OpenStream):
        return Chunk(b"first of " + request.job.body)
    return Chunk(b"next of %d" % request.stream_id)
