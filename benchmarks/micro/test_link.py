"""What a request costs each end of the link between a gateway process and the one that holds the models.

Without the transport, the worker and HTTP. Divide by `REQUESTS` for what one costs.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvloop

from benchmarks.micro.played_worker import KEY, open_dispatcher, reply_frame
from gateway.engines.fleet.engine import FleetEngine
from gateway.engines.fleet.limits import FleetLimits
from gateway.engines.fleet.link import Greeting
from gateway.engines.members import Member, StaticMembers
from gateway.engines.wire.control import Done, GatewayHello, ModelNumber, NodeHello, State, Unload
from gateway.engines.wire.messages import JOBS, decode_from_gateway, encode_control, encode_jobs
from gateway.engines.wire.protocol import NEWEST
from gateway.engines.wire.state import NodeModel, NodeState
from gateway.node.session import NodeParts, Session
from workers.metrics import Counters
from workers.pool.status import ModelStatus
from workers.protocol import framing
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from pytest_benchmark.fixture import BenchmarkFixture

    from gateway.engines.fleet.link import Link
    from gateway.engines.wire.control import NodeControl

REQUESTS = 1024
CONCURRENCY = (1, 8, 64)
JOB = Job(b"x" * 350)
HELLO = NodeHello("n", NEWEST, "1", None, 2, 1, 1)
STATE = NodeState(models={KEY: NodeModel(ModelStatus("warm", 1), 1, False, 0.0)})


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of both programs."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


async def predict_all(predict: Callable[[Any, Job], Awaitable[object]], concurrent: int) -> None:
    """Await `REQUESTS` predictions, with that many at a time."""

    async def client() -> None:
        for _ in range(REQUESTS // concurrent):
            await predict(KEY, JOB)

    await asyncio.gather(*[client() for _ in range(concurrent)])


class InstantNode:
    """A transport to a node that answers each message in the next turn, without any work of its own."""

    unsent_bytes = 0

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._tails: dict[int, bytes] = {}

    def send(self, message: Sequence[bytes]) -> None:
        """Join the parts as a transport does, and answer."""
        whole = b"".join(message)
        if whole[0] == JOBS:
            self._loop.call_soon(self._link.on_message, self._answer(whole))
        elif b"gateway" in whole:  # its greeting
            self._tell(HELLO, State(STATE))
        elif type(control := decode_from_gateway(whole)) is Unload:  # it asks whether all before was read
            self._tell(Done(control.id))

    def close(self) -> None:
        """Do nothing."""

    def _tell(self, *messages: NodeControl) -> None:
        for message in messages:
            self._loop.call_soon(self._link.on_message, b"".join(encode_control(message)))

    def _answer(self, jobs: bytes) -> bytes:
        (count,) = struct.unpack_from("<I", jobs, 1)
        ids = struct.unpack_from("<" + "QI" * count, jobs, 5)[::2]
        if count not in self._tails:
            frame = reply_frame(count)
            head = framing.HEADER.pack(count, len(frame[1]), 0.0)
            self._tails[count] = head + frame[0] + frame[1]
        return struct.pack(f"<BI{count}Q", 2, count, *ids) + self._tails[count]


class InstantConnector:
    """A connector to such a node."""

    async def connect(self, member: Member, link: Link) -> InstantNode:
        """Return a transport."""
        del member
        return InstantNode(link)

    async def close(self) -> None:
        """Do nothing."""


async def _check(version: object) -> None:
    del version


async def _locate(key: object) -> None:
    del key


@pytest.mark.parametrize("concurrent", CONCURRENCY)
def test_predict_over_a_link(
    benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, concurrent: int
) -> None:
    """The gateway's end: route, send, and receive the reply."""

    async def start() -> tuple[FleetEngine, asyncio.Task[None]]:
        engine = FleetEngine(
            StaticMembers(["n:1"]),
            cast("Any", InstantConnector()),
            greeting=Greeting("g", "1"),
            limits=FleetLimits,
            locate=_locate,
            check=_check,
            counters=Counters(),
        )
        task = asyncio.create_task(engine.run())
        await asyncio.sleep(0.1)
        assert engine.is_loaded(KEY)
        return engine, task

    engine, task = loop.run_until_complete(start())
    benchmark(lambda: loop.run_until_complete(predict_all(engine.predict, concurrent)))
    task.cancel()
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.run_until_complete(engine.close(drain_seconds=0.0))


@pytest.mark.parametrize("concurrent", CONCURRENCY)
def test_predict_without_a_link(
    benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, concurrent: int
) -> None:
    """The same in a gateway whose own workers predict: queue, send, and receive the reply."""

    async def start() -> Callable[[Any, Job], Awaitable[object]]:
        dispatcher = open_dispatcher()

        async def predict(key: object, job: Job) -> object:
            del key
            return await dispatcher.submit(job)

        return predict

    predict = loop.run_until_complete(start())
    benchmark(lambda: loop.run_until_complete(predict_all(predict, concurrent)))


class CountingTransport:
    """The node's end of a link whose other end sends a batch again as soon as all of it is answered."""

    unsent_bytes = 0

    def __init__(self, batch: int, done: Callable[[], None]) -> None:
        self._batch = batch
        self._loop = asyncio.get_running_loop()
        self._missing = 0
        self._left = 0
        self._done = done
        self.session: Session | None = None
        ids = [(number, 1) for number in range(1, batch + 1)]
        self._message = b"".join(encode_jobs(ids, [JOB] * batch))

    def send(self, message: Sequence[bytes | memoryview]) -> None:
        """Join the parts as a transport does, and count replies."""
        whole = b"".join(message)
        if whole[0] != 2:
            return
        self._missing -= int.from_bytes(whole[1:5], "little")
        if not self._missing:
            if self._left:
                self._loop.call_soon(self._next)
            else:
                self._done()

    def start(self) -> None:
        """Send the first batch."""
        self._left = REQUESTS
        self._next()

    def close(self) -> None:
        """Do nothing."""

    def _next(self) -> None:
        self._missing = self._batch
        self._left -= self._batch
        assert self.session is not None
        self.session.on_message(self._message)


@pytest.mark.parametrize("concurrent", CONCURRENCY)
def test_serve_a_link(benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, concurrent: int) -> None:
    """The node's end: decode, queue, give to a worker, take its replies, and send them."""
    ended = asyncio.Event()

    async def start() -> CountingTransport:
        transport = CountingTransport(concurrent, ended.set)
        dispatcher = open_dispatcher()
        parts = NodeParts(
            engine=cast("Any", SimpleNamespace(submit=lambda _, *jobs: dispatcher.submit_all(*jobs))),
            loads=cast("Any", None),
            pins=cast("Any", SimpleNamespace(release=lambda _: None)),
            feed=cast("Any", SimpleNamespace(subscribe=lambda _: None, unsubscribe=lambda _: None)),
            hello=lambda: HELLO,
            max_body_bytes=2**28,
            on_end=lambda _: None,
        )
        transport.session = Session(parts, transport)
        for message in (GatewayHello("g", NEWEST, "1"), ModelNumber(1, KEY)):
            transport.session.on_message(b"".join(encode_control(message)))
        return transport

    async def serve() -> None:
        ended.clear()
        transport.start()
        await ended.wait()

    transport = loop.run_until_complete(start())
    benchmark(lambda: loop.run_until_complete(serve()))
    assert transport.session is not None
    transport.session.close("the end")
