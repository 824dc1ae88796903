"""Answers in chunks over real processes: order, backpressure, ends of every kind, and what runs beside."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import psutil
import pytest

from tests.support.models import body
from tests.workers.conftest import Files, key, load
from workers.errors import (
    CapacityExceeded,
    InvalidInput,
    ModelError,
    PoolClosed,
    PredictionTimeout,
    QueueFull,
    StreamingNotSupported,
    UnsupportedMediaType,
    WorkerCrashed,
)
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from workers.pool.pool import Pool
    from workers.prediction_stream import PredictionStream

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]
    Lookup = Callable[[str], Files]

STREAMS = key("streams")


def command(*words: str) -> Job:
    return Job(body(do=list(words)))


@pytest.fixture
async def pool(opened: Opened, files: Lookup) -> AsyncIterator[Pool]:
    """A pool with one worker of the model that streams."""
    async with opened(request_seconds=20) as pool:
        await load(pool, files("streams"))
        yield pool


async def chunks(pool: Pool, *words: str) -> list[Any]:
    with closing(await pool.stream(STREAMS, command(*words))) as stream:
        return [orjson.loads(chunk) async for chunk in stream]


async def pid(pool: Pool) -> Any:
    return orjson.loads((await pool.predict(STREAMS, command("x"))).body)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - no event tells what another process has done
            await asyncio.sleep(0.01)


async def test_every_chunk_in_order(pool: Pool) -> None:
    """As many as the model yields, and then the worker is another's."""
    assert [chunk["n"] for chunk in await chunks(pool, "count 1000")] == list(range(1000))
    assert await pid(pool)


async def test_the_first_chunk_comes_before_the_last_is_made(pool: Pool) -> None:
    """Each chunk comes when it is made, not when all are."""
    with closing(await pool.stream(STREAMS, command("count 3 0.3"))) as stream:
        late = [time.time() - orjson.loads(chunk)["made"] async for chunk in stream]
    assert len(late) == 3
    assert max(late) < 0.25


async def test_a_stream_of_nothing(pool: Pool) -> None:
    """It ends at once, and frees the worker."""
    assert await chunks(pool, "count 0") == []
    assert await pid(pool)


async def test_a_finished_stream_stays_so(pool: Pool) -> None:
    """After the end, after an error and after `close` there is nothing more."""
    for words in ("count 1", "count 1; raise it", "count 9"):
        with closing(await pool.stream(STREAMS, command(words))) as stream:
            assert await anext(stream)
            if words != "count 9":
                with pytest.raises((StopAsyncIteration, ModelError)):
                    await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        stream.close()


async def test_every_chunk_is_valid_json(pool: Pool) -> None:
    """By the rules of every answer; what has no JSON form ends the stream, and its type is named."""
    with closing(await pool.stream(STREAMS, command("odd"))) as stream:
        chunk = await anext(stream)
        assert b"\n" not in chunk
        assert orjson.loads(chunk) == {"nan": None, "inf": None, "bytes": "AA==", "line": "a\nb"}
        with pytest.raises(ModelError, match="type object"):
            await anext(stream)
    assert await pid(pool)


async def test_a_model_without_streams(opened: Opened, files: Lookup) -> None:
    """It says so, and still predicts."""
    async with opened() as pool:
        await load(pool, files("commands"))
        with pytest.raises(StreamingNotSupported, match="no predict_stream"):
            await pool.stream(key("commands"), command("x"))
        assert (await pool.predict(key("commands"), command("x"))).body


async def test_the_input_is_checked_as_ever(pool: Pool) -> None:
    """Before the first chunk: the signature, the type, and that it is a single input."""
    with pytest.raises(InvalidInput) as refused:
        await pool.stream(STREAMS, Job(body(do=[1])))
    assert refused.value.details[0].column == "do"
    with pytest.raises(UnsupportedMediaType):
        await pool.stream(STREAMS, Job(b"", "text/plain"))
    with pytest.raises(InvalidInput, match="single input"):
        await pool.stream(STREAMS, command("say a", "say b"))
    assert await chunks(pool, "say a") == ["a"]


@pytest.mark.parametrize("before", ["", "count 2; "])
@pytest.mark.parametrize(("trouble", "named"), [("raise it", "ValueError"), ("exit", "SystemExit")])
async def test_a_model_that_raises(pool: Pool, before: str, trouble: str, named: str) -> None:
    """At the first chunk or later: the model's failure, told safely, and the process goes on."""
    process = await pid(pool)
    with pytest.raises(ModelError) as failed:
        await chunks(pool, before + trouble)
    assert failed.value.exception == named
    assert "/secret" not in str(failed.value)
    assert "Traceback" in failed.value.log
    assert await pid(pool) == process


async def test_leaving_closes_the_generator(pool: Pool, tmp_path: Path) -> None:
    """Its `finally` runs in the worker, which goes on with others."""
    process = await pid(pool)
    mark = tmp_path / "mark"
    with closing(await pool.stream(STREAMS, command(f"count 1000000 0 {mark}"))) as stream:
        await anext(stream)
        assert not mark.exists()
    assert await pid(pool) == process
    assert mark.read_text() == f"early {process[0]}"


@pytest.mark.parametrize("after", [0.0, 0.2])
async def test_a_caller_cancelled_before_the_first_chunk(pool: Pool, tmp_path: Path, after: float) -> None:
    """Wherever the opening is then, no generator stays open and the worker is free."""
    mark = tmp_path / "mark"
    opening = asyncio.create_task(pool.stream(STREAMS, command(f"sleep 0.5; count 9 0 {mark}")))
    await asyncio.sleep(after)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await pid(pool)
    assert not mark.exists()


async def test_a_caller_cancelled_as_the_first_chunk_arrives(pool: Pool, tmp_path: Path) -> None:
    """The chunk is there, its caller not any more: the stream is closed all the same."""
    for turn in range(40):
        mark = tmp_path / f"mark-{turn}"
        opening = asyncio.create_task(pool.stream(STREAMS, command(f"count 9 0 {mark}")))
        await asyncio.sleep(turn * 0.0001)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if not opening.cancelled():
            opening.result().close()
        assert await pid(pool)
        assert not mark.exists() or mark.read_text().startswith("early")


async def test_a_caller_cancelled_between_chunks(pool: Pool, tmp_path: Path) -> None:
    """The chunk that is being made is dropped, and the generator closed after it."""
    mark = tmp_path / "mark"
    stream = await pool.stream(STREAMS, command(f"count 9 0.3 {mark}"))
    assert await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    stream.close()
    assert await pid(pool)
    assert mark.read_text().startswith("early")


async def test_a_slow_reader_holds_the_model_up(pool: Pool, tmp_path: Path) -> None:
    """The model makes no chunk before it is asked for, so none waits in memory."""
    made = tmp_path / "made"
    with closing(await pool.stream(STREAMS, command(f"fill {made}"))) as stream:
        for number in range(1, 6):
            assert len(await anext(stream)) > 100_000
            await asyncio.sleep(0.1)
            assert made.stat().st_size == number


async def test_a_stream_has_its_worker_to_itself(pool: Pool) -> None:
    """A prediction asked meanwhile comes after the last chunk: a model's generator may share its state."""
    ended = []

    async def note(name: str, doing: Any) -> None:
        await doing
        ended.append(name)

    streaming = asyncio.create_task(note("stream", chunks(pool, "count 20 0.02")))
    await asyncio.sleep(0.1)
    await asyncio.gather(streaming, *(note("prediction", pid(pool)) for _ in range(3)))
    assert ended == ["stream", "prediction", "prediction", "prediction"]


async def test_what_waits_together_with_streams_is_answered_apart(pool: Pool) -> None:
    """A fast model's jobs travel in batches, but one that opens a stream goes alone."""
    for _ in range(30):
        await pid(pool)
    slow = asyncio.create_task(pool.predict(STREAMS, command("sleep 0.06")))
    await asyncio.sleep(0.02)
    mixed = [each for n in range(5) for each in (pid(pool), chunks(pool, f"say {n} a b"))]
    answers = await asyncio.gather(*mixed)
    await slow
    assert len({process for (process,) in answers[::2]}) == 1
    assert answers[1::2] == [[str(n), "a", "b"] for n in range(5)]


async def test_others_go_on_beside_it(opened: Opened, files: Lookup) -> None:
    """With a second worker no prediction waits for the stream, and a second stream runs too."""
    async with opened(workers_per_model=2, request_seconds=20) as pool:
        await load(pool, files("streams"))
        with closing(await pool.stream(STREAMS, command("count 1000000"))) as endless:
            holder = orjson.loads(await anext(endless))["pid"]
            async with asyncio.timeout(5):
                others = await asyncio.gather(*(pid(pool) for _ in range(50)))
                assert [holder] not in others
                assert len(await chunks(pool, "count 50")) == 50
            assert orjson.loads(await anext(endless))["n"] == 1


async def test_twenty_streams_and_predictions_beside_them(opened: Opened, files: Lookup) -> None:
    """Each caller gets its own chunks, whole and in order, and nobody is forgotten."""
    async with opened(workers_per_model=2, request_seconds=60) as pool:
        await load(pool, files("streams"))
        streams = [chunks(pool, f"say {' '.join(f'{n}.{m}' for m in range(n + 5))}") for n in range(20)]
        many = await asyncio.gather(*streams, *(pid(pool) for _ in range(100)))
    assert many[:20] == [[f"{n}.{m}" for m in range(n + 5)] for n in range(20)]
    assert len({process for (process,) in many[20:]}) <= 2


async def test_death_before_the_first_chunk(pool: Pool, tmp_path: Path) -> None:
    """Nothing was sent yet: another worker opens the stream, once; the second death is told."""
    before = await pid(pool)
    (chunk,) = await chunks(pool, f"die_once {tmp_path / 'died'}")
    assert chunk["pid"] != before[0]
    with pytest.raises(WorkerCrashed):
        await pool.stream(STREAMS, command("die"))
    assert await pid(pool)


async def test_death_in_the_midst(pool: Pool) -> None:
    """What was sent cannot be taken back: the stream fails, what waited behind it is answered."""
    with closing(await pool.stream(STREAMS, command("count 2; die"))) as stream:
        assert orjson.loads(await anext(stream))["n"] == 0
        behind = [asyncio.create_task(pid(pool)) for _ in range(3)]
        assert orjson.loads(await anext(stream))["n"] == 1
        with pytest.raises(WorkerCrashed):
            await anext(stream)
    assert len(await asyncio.gather(*behind)) == 3


async def test_death_between_two_chunks(pool: Pool) -> None:
    """Nobody was waiting when the process died; the next to ask is told."""
    with closing(await pool.stream(STREAMS, command("count 9"))) as stream:
        process = psutil.Process(orjson.loads(await anext(stream))["pid"])
        process.kill()
        await until(lambda: not process.is_running())
        with pytest.raises(WorkerCrashed):
            await anext(stream)
    assert await pid(pool) != [process.pid]


@pytest.mark.parametrize("before", ["", "count 1; "])
async def test_a_hung_generator(opened: Opened, files: Lookup, before: str) -> None:
    """A chunk that takes longer than a request may: the worker is ended and replaced."""
    async with opened(request_seconds=0.6) as pool:
        await load(pool, files("streams"))
        process = await pid(pool)
        with pytest.raises(PredictionTimeout):
            await chunks(pool, f"{before}sleep 60")
        await until(lambda: not psutil.pid_exists(process[0]))
        await until(lambda: pool.status(STREAMS).workers == 1)
        assert await pid(pool) != process


async def test_a_generator_that_hangs_as_it_closes(opened: Opened, files: Lookup) -> None:
    """Its worker is ended and replaced likewise, though nobody waits for the stream any more."""
    async with opened(request_seconds=0.6) as pool:
        await load(pool, files("streams"))
        process = await pid(pool)
        with closing(await pool.stream(STREAMS, command("hang_on_close"))) as stream:
            assert await anext(stream) == b"1"
        await until(lambda: not psutil.pid_exists(process[0]))
        await until(lambda: pool.status(STREAMS).workers == 1)
        assert await pid(pool) != process


async def test_time_counts_for_each_chunk_and_for_all(opened: Opened, files: Lookup, tmp_path: Path) -> None:
    """A stream may take longer than a request, but not longer than a stream may."""
    async with opened(request_seconds=0.5, stream_seconds=1.5) as pool:
        await load(pool, files("streams"))
        assert len(await chunks(pool, "count 6 0.15")) == 6
        mark = tmp_path / "mark"
        with pytest.raises(PredictionTimeout, match=r"longer than 1\.5 s"):
            await chunks(pool, f"count 1000000 0.1 {mark}")
        assert await pid(pool)
        assert mark.read_text().startswith("early")


async def test_a_generator_that_does_not_close_in_order(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """Its exception is the operator's to know; the worker goes on."""
    process = await pid(pool)
    with closing(await pool.stream(STREAMS, command("refuse_to_close"))) as stream:
        assert await anext(stream) == b"1"
    assert await pid(pool) == process
    assert any("did not close in order" in record.message for record in caplog.records)


async def test_an_open_stream_is_busy(opened: Opened, files: Lookup) -> None:
    """It is neither evicted nor retired, not even between two chunks."""
    async with opened(max_loaded_models=1, idle_seconds=0.3, request_seconds=1.0) as pool:
        await load(pool, files("streams"))
        with closing(await pool.stream(STREAMS, command("count 9"))) as stream:
            assert await anext(stream)
            with pytest.raises(CapacityExceeded):
                await load(pool, files("sums"))
            assert await anext(stream)
        await load(pool, files("sums"))
        assert not pool.is_loaded(STREAMS)


async def test_the_queue_is_bounded_for_streams_too(opened: Opened, files: Lookup) -> None:
    """One beyond the limit is refused at once."""
    async with opened(max_queue=2, request_seconds=20) as pool:
        await load(pool, files("streams"))
        with closing(await pool.stream(STREAMS, command("count 9"))):
            waiting = [asyncio.create_task(chunks(pool, "say a")) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFull):
                await pool.stream(STREAMS, command("say b"))
        assert await asyncio.gather(*waiting) == [["a"], ["a"]]


async def test_closing_waits_for_streams(opened: Opened, files: Lookup) -> None:
    """For as long as it may: a stream that ends in time is whole, and nobody waits longer than for it."""
    async with opened(request_seconds=20) as pool:
        await load(pool, files("streams"))
        streaming = asyncio.create_task(chunks(pool, "count 10 0.05"))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await pool.close(drain_seconds=20)
        assert time.monotonic() - began < 10
        assert len(await streaming) == 10


@pytest.mark.parametrize("waiting", [True, False])
async def test_closing_ends_streams_that_take_too_long(
    opened: Opened, files: Lookup, *, waiting: bool
) -> None:
    """Whether a chunk is waited for then or not; no process is left."""
    async with opened(request_seconds=20) as pool:
        await load(pool, files("streams"))
        stream: PredictionStream = await pool.stream(STREAMS, command("count 1; sleep 50"))
        process = psutil.Process(orjson.loads(await anext(stream))["pid"])
        asked = asyncio.ensure_future(anext(stream)) if waiting else None
        await asyncio.sleep(0.1)
        await pool.close(drain_seconds=0.3)
        with pytest.raises(PoolClosed):
            await (asked or anext(stream))
        stream.close()
        await until(lambda: not process.is_running())
