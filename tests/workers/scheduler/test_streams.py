"""Streams over real processes: the order of chunks, backpressure, and what runs beside them."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.models import body
from tests.support.waiting import until
from tests.workers.conftest import key, load
from tests.workers.scheduler.conftest import STREAMS, command, predict_pid, read_all
from workers.errors import InvalidInput, ModelError, QueueFull, StreamingNotSupported, UnsupportedMediaType
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.scheduler.conftest import FindFiles, OpenPool
    from workers.pool.pool import Pool


async def test_every_chunk_comes_in_order(pool: Pool) -> None:
    """As many come as the model yields, and then the worker is free."""
    assert [chunk["n"] for chunk in await read_all(pool, "count 1000")] == list(range(1000))
    assert await predict_pid(pool)


async def test_each_chunk_comes_before_the_next_is_made(pool: Pool) -> None:
    """A chunk is sent when it is made, not when all are."""
    received, made = [], []
    with closing(await pool.stream(STREAMS, command("count 3"))) as stream:
        async for chunk in stream:
            received.append(time.time())
            made.append(orjson.loads(chunk)["made"])
    assert len(made) == 3
    assert all(earlier <= later for earlier, later in zip(received[:2], made[1:], strict=True))


async def test_an_empty_stream_ends_at_once(pool: Pool) -> None:
    """It frees the worker."""
    assert await read_all(pool, "count 0") == []
    assert await predict_pid(pool)


@pytest.mark.parametrize("words", ["count 1", "count 1; raise it", "count 9"])
async def test_a_stream_that_ended_yields_nothing_more(pool: Pool, words: str) -> None:
    """That holds after its end, after an error and after `close`."""
    with closing(await pool.stream(STREAMS, command(words))) as stream:
        assert await anext(stream)
        if words != "count 9":
            with pytest.raises((StopAsyncIteration, ModelError)):
                await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    stream.close()


async def test_every_chunk_is_valid_json(pool: Pool) -> None:
    """The rules are those of predictions; a value without a JSON form ends the stream with its type."""
    with closing(await pool.stream(STREAMS, command("odd"))) as stream:
        chunk = await anext(stream)
        assert b"\n" not in chunk
        assert orjson.loads(chunk) == {"nan": None, "inf": None, "bytes": "AA==", "line": "a\nb"}
        with pytest.raises(ModelError, match="type object"):
            await anext(stream)
    assert await predict_pid(pool)


async def test_a_model_that_cannot_stream_says_so(opened: OpenPool, files: FindFiles) -> None:
    """It still predicts."""
    async with opened() as pool:
        await load(pool, files("commands"))
        with pytest.raises(StreamingNotSupported, match="no predict_stream"):
            await pool.stream(key("commands"), command("x"))
        assert (await pool.predict(key("commands"), command("x"))).body


async def test_the_input_is_checked_before_the_first_chunk(pool: Pool) -> None:
    """It must fit the signature, have a known type, and be a single input."""
    with pytest.raises(InvalidInput) as rejected:
        await pool.stream(STREAMS, Job(body(do=[1])))
    assert rejected.value.details[0].column == "do"
    with pytest.raises(UnsupportedMediaType):
        await pool.stream(STREAMS, Job(b"", "text/plain"))
    with pytest.raises(InvalidInput, match="single input"):
        await pool.stream(STREAMS, command("say a", "say b"))
    assert await read_all(pool, "say a") == ["a"]


@pytest.mark.parametrize("before", ["", "count 2; "])
@pytest.mark.parametrize(("words", "exception"), [("raise it", "ValueError"), ("exit", "SystemExit")])
async def test_a_model_that_raises_fails_the_stream_alone(
    pool: Pool, before: str, words: str, exception: str
) -> None:
    """At the first chunk or later, the error is safe to show, and the process goes on."""
    process = await predict_pid(pool)
    with pytest.raises(ModelError) as failed:
        await read_all(pool, before + words)
    assert failed.value.exception == exception
    assert "/secret" not in str(failed.value)
    assert "Traceback" in failed.value.log
    assert await predict_pid(pool) == process


async def test_a_slow_reader_slows_the_model_down(pool: Pool, tmp_path: Path) -> None:
    """The model makes no chunk before it is asked for, so none waits in memory."""
    made = tmp_path / "made"
    with closing(await pool.stream(STREAMS, command(f"fill {made}"))) as stream:
        for count in range(1, 6):
            assert len(await anext(stream)) > 100_000
            await asyncio.sleep(0.05)  # time for a model that would not wait
            assert made.stat().st_size == count


async def test_a_stream_has_its_worker_to_itself(pool: Pool) -> None:
    """A prediction waits until the stream has ended: a model's generator may share its state."""
    ended = []

    async def predict() -> None:
        await predict_pid(pool)
        ended.append("prediction")

    with closing(await pool.stream(STREAMS, command("count 20 0.01"))) as stream:
        predictions = [asyncio.create_task(predict()) for _ in range(3)]
        async for _ in stream:
            assert not ended
        ended.append("stream")
    await asyncio.gather(*predictions)
    assert ended == ["stream", "prediction", "prediction", "prediction"]


async def test_a_stream_shares_no_batch_with_predictions(pool: Pool, tmp_path: Path) -> None:
    """A fast model's predictions travel in batches; a request that opens a stream travels alone."""
    for _ in range(30):
        await predict_pid(pool)
    go = tmp_path / "go"
    blocker = asyncio.create_task(pool.predict(STREAMS, command(f"wait_for {go}")))
    await until(lambda: pool.status(STREAMS).running == 1)
    mixed = [work for n in range(5) for work in (predict_pid(pool), read_all(pool, f"say {n} a b"))]
    clients = asyncio.gather(*mixed)
    await asyncio.sleep(0)
    go.touch()
    results = await clients
    await blocker
    assert len({process for (process,) in results[::2]}) == 1
    assert results[1::2] == [[str(n), "a", "b"] for n in range(5)]


async def test_another_worker_serves_beside_a_stream(opened: OpenPool, files: FindFiles) -> None:
    """With two workers no prediction waits for a stream, and a second stream runs too."""
    async with opened(workers_per_model=2, request_seconds=60) as pool:
        await load(pool, files("streams"))
        with closing(await pool.stream(STREAMS, command("count 1000000"))) as endless:
            holder = orjson.loads(await anext(endless))["pid"]
            async with asyncio.timeout(60):
                others = await asyncio.gather(*(predict_pid(pool) for _ in range(50)))
                assert [holder] not in others
                assert len(await read_all(pool, "count 50")) == 50
            assert orjson.loads(await anext(endless))["n"] == 1


async def test_many_streams_and_predictions(opened: OpenPool, files: FindFiles) -> None:
    """Each client gets its own chunks, all of them and in order."""
    async with opened(workers_per_model=2, request_seconds=60) as pool:
        await load(pool, files("streams"))
        streams = [read_all(pool, f"say {' '.join(f'{n}.{m}' for m in range(n + 5))}") for n in range(20)]
        results = await asyncio.gather(*streams, *(predict_pid(pool) for _ in range(100)))
    assert results[:20] == [[f"{n}.{m}" for m in range(n + 5)] for n in range(20)]
    assert len({process for (process,) in results[20:]}) <= 2


async def test_the_queue_is_bounded_for_streams_too(opened: OpenPool, files: FindFiles) -> None:
    """A stream above the limit is rejected at once."""
    async with opened(max_queue=2, request_seconds=60) as pool:
        await load(pool, files("streams"))
        with closing(await pool.stream(STREAMS, command("count 9"))):
            waiting = [asyncio.create_task(read_all(pool, "say a")) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFull):
                await pool.stream(STREAMS, command("say b"))
        assert await asyncio.gather(*waiting) == [["a"], ["a"]]
