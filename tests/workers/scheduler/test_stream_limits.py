"""The limits of streams, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.workers.conftest import Files, LiveLimits, key, load
from tests.workers.stateful.scripted_group import scripted_workers, start_group
from workers.errors import CapacityExceeded, PredictionTimeout
from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import Chunk, Job

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from tests.workers.stateful.scripted import ScriptedForkServer
    from tests.workers.stateful.virtual_time import VirtualTimeLoop
    from workers.prediction_stream import PredictionStream

    ScriptedWorkers = tuple[VirtualTimeLoop, ScriptedForkServer]


@pytest.fixture
def scripted() -> Iterator[ScriptedWorkers]:
    with scripted_workers() as (loop, forkserver):
        yield loop, forkserver


def send_chunk(scripted: ScriptedWorkers, body: bytes | None = b"1") -> None:
    """Let the oldest process reply with a chunk; without a body it ends the stream."""
    loop, forkserver = scripted
    loop.spin(2)
    process = forkserver.alive[0]
    assert process.take_batch()
    process.reply([Chunk(body)], 0.0)
    loop.spin(3)


def read_chunk(scripted: ScriptedWorkers, stream: PredictionStream) -> bytes:
    """Return the next chunk of a stream."""
    loop, _ = scripted
    waiting: asyncio.Task[bytes] = loop.create_task(_next_chunk(stream))
    loop.spin(1)
    if not waiting.done():
        send_chunk(scripted)
    return waiting.result()


async def _next_chunk(stream: PredictionStream) -> bytes:
    return await anext(stream)


def test_each_chunk_has_the_time_of_a_request_and_the_stream_its_own(scripted: ScriptedWorkers) -> None:
    """A stream may take longer than a request, but not longer than a stream may."""
    loop, forkserver = scripted
    limits = PoolLimits(request_seconds=10.0, stream_seconds=30.0)
    group = loop.run(start_group(forkserver, limits, on_failed=lambda *_: None, on_idle=lambda: None))
    opening = loop.create_task(group.stream(Job(b"{}")))
    send_chunk(scripted)
    stream = opening.result()
    for _ in range(4):
        assert read_chunk(scripted, stream) == b"1"
        loop.advance(7.0)
    loop.advance(3.0)
    with pytest.raises(PredictionTimeout, match="longer than 30 s"):
        read_chunk(scripted, stream)
    loop.call(stream.close)
    loop.run(group.close(drain_seconds=0.0))


def test_a_model_with_an_open_stream_is_not_evicted(scripted: ScriptedWorkers) -> None:
    """It is busy also between two chunks: neither idle, nor to be unloaded for another model."""
    loop, _ = scripted
    streaming, other = (Files(key(name), Path("/nowhere")) for name in ("streaming", "other"))

    async def open_pool() -> Pool:
        pool = Pool(LiveLimits(max_loaded_models=1, idle_seconds=5.0, request_seconds=10.0))
        await pool.open()
        await load(pool, streaming)
        return pool

    pool = loop.run(open_pool())
    opening = loop.create_task(pool.stream(streaming.key, Job(b"{}")))
    send_chunk(scripted)
    stream = opening.result()
    assert read_chunk(scripted, stream) == b"1"
    with pytest.raises(CapacityExceeded):
        loop.run(load(pool, other))
    assert read_chunk(scripted, stream) == b"1"
    loop.call(stream.close)
    send_chunk(scripted, None)
    loop.run(load(pool, other))
    assert not pool.is_loaded(streaming.key)
    loop.run(pool.close(drain_seconds=0.0))
