"""What one prediction costs in the gateway's process beside HTTP and the worker itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.concurrency.singleflight import SingleFlight
from gateway.domain.models import ModelVersion, Resolution
from gateway.domain.refs import ModelRef, parse_selector
from gateway.serving.service import Prediction, PredictionService
from workers.limits import PoolLimits
from workers.metrics import Counters
from workers.protocol.messages import Job, ModelKey, Reply, RowBatching
from workers.scheduler.dispatcher import Dispatcher
from workers.scheduler.worker_slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_benchmark.fixture import BenchmarkFixture

    from workers.process.channel import ReplyCallback

JOB = Job(b"{}")
REPLY = Reply(b"[1]", 0.001)
KEY = ModelKey("m", "1", "f")
REQUESTS = 100


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop, since each queued request holds a future."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class InstantEngine:
    """An engine that has every version loaded, and replies without waiting."""

    async def predict(self, key: ModelKey, job: Job) -> Reply:
        """Return the same reply each time."""
        del key, job
        return REPLY


def test_serve_a_prediction(benchmark: BenchmarkFixture) -> None:
    """Resolve a version that the catalog knows, have it predict, and measure the phases."""
    version = ModelVersion(name="m", version="1", source="registry", status="READY", uri="u", fingerprint="f")
    resolution = Resolution(version)
    engine = InstantEngine()
    service = PredictionService(
        cast("Any", SimpleNamespace(resolve_cached=lambda _: resolution)),
        cast("Any", engine),
        single_flight=SingleFlight(),
        settings=cast("Any", None),
        counters=Counters(),
    )
    ref = ModelRef("m", parse_selector("1"))

    def predict() -> Prediction:
        try:
            service.predict(ref, JOB).send(None)
        except StopIteration as end:
            return cast("Prediction", end.value)
        raise AssertionError("nothing is to be waited for")

    assert benchmark(predict).reply is REPLY


class InstantWorker:
    """A worker that replies in the next iteration of the loop."""

    connected = True
    pid = 1

    def send_batch(self, requests: Sequence[Job], on_reply: ReplyCallback) -> None:
        """Answer each request with the same reply."""
        replies = (REPLY,) * len(requests)
        asyncio.get_running_loop().call_soon(on_reply, (replies, 0.001 * len(requests)))


def test_dispatch_one_after_the_other(benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop) -> None:
    """Send a hundred requests through the queue to a worker, each after the reply to the one before."""

    async def open_dispatcher() -> Dispatcher:
        dispatcher = Dispatcher(
            KEY,
            PoolLimits(),
            on_worker_exit=lambda _: None,
            on_timeout=lambda _: None,
            on_idle=lambda: None,
            counters=Counters(),
        )
        slot = WorkerSlot(cast("Any", InstantWorker()), 0.0)
        dispatcher.add(slot, RowBatching(False, ""))
        return dispatcher

    async def submit(dispatcher: Dispatcher) -> Reply:
        for _ in range(REQUESTS):
            reply: Reply = await dispatcher.submit(JOB)
        return reply

    dispatcher = loop.run_until_complete(open_dispatcher())
    assert benchmark(lambda: loop.run_until_complete(submit(dispatcher))) is REPLY
