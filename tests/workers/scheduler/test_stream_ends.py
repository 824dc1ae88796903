"""The ends of streams over real processes: clients that leave, crashes, hangs, and the pool's close."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import orjson
import psutil
import pytest

from tests.support.waiting import until
from tests.workers.conftest import NO_WALL, load
from tests.workers.scheduler.conftest import STREAMS, command, predict_pid, read_all, worker_pids
from workers.errors import PoolClosed, PredictionTimeout, WorkerCrashed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.scheduler.conftest import FindFiles, OpenPool
    from workers.pool.pool import Pool


async def test_closing_a_stream_closes_the_generator(pool: Pool, tmp_path: Path) -> None:
    """Its `finally` runs in the worker, which then serves others."""
    process = await predict_pid(pool)
    mark = tmp_path / "mark"
    with closing(await pool.stream(STREAMS, command(f"count 1000000 0 {mark}"))) as stream:
        await anext(stream)
        assert not mark.exists()
    assert await predict_pid(pool) == process
    assert mark.read_text() == f"early {process[0]}"


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_a_client_cancelled_before_the_first_chunk(pool: Pool, tmp_path: Path, state: str) -> None:
    """Wherever the opening is then, no generator stays open and the worker becomes free."""
    go, mark = tmp_path / "go", tmp_path / "mark"
    words = f"wait_for {go}; say a; count 9 0 {mark}"
    opening = asyncio.create_task(pool.stream(STREAMS, command(words)))
    await asyncio.sleep(0)
    if state == "running":
        await until(lambda: pool.status(STREAMS).running == 1)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    go.touch()
    assert await predict_pid(pool)
    assert not mark.exists()


async def test_a_client_cancelled_as_the_first_chunk_arrives(pool: Pool, tmp_path: Path) -> None:
    """The stream is closed also if its chunk has arrived and its client has left."""
    for attempt in range(40):
        mark = tmp_path / f"mark-{attempt}"
        opening = asyncio.create_task(pool.stream(STREAMS, command(f"count 9 0 {mark}")))
        await asyncio.sleep(attempt * 0.0001)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if not opening.cancelled():
            opening.result().close()
        assert await predict_pid(pool)
        assert not mark.exists() or mark.read_text().startswith("early")


async def test_a_client_cancelled_between_chunks(pool: Pool, tmp_path: Path) -> None:
    """The chunk that is being made is dropped, and then the generator is closed."""
    go, mark = tmp_path / "go", tmp_path / "mark"
    stream = await pool.stream(STREAMS, command(f"count 1; wait_for {go}; count 9 0 {mark}"))
    assert await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await until(lambda: pool.status(STREAMS).running == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    stream.close()
    go.touch()
    assert await predict_pid(pool)
    assert mark.read_text().startswith("early")


async def test_a_crash_before_the_first_chunk(pool: Pool, tmp_path: Path) -> None:
    """No chunk was sent yet, so another worker opens the stream, once; a second crash is an error."""
    before = await predict_pid(pool)
    (chunk,) = await read_all(pool, f"die_once {tmp_path / 'died'}")
    assert chunk["pid"] != before[0]
    with pytest.raises(WorkerCrashed):
        await pool.stream(STREAMS, command("die"))
    assert await predict_pid(pool)


async def test_a_crash_after_the_first_chunk(pool: Pool) -> None:
    """A chunk that was sent cannot be taken back: the stream fails, and what waits behind it is answered."""
    with closing(await pool.stream(STREAMS, command("count 2; die"))) as stream:
        assert orjson.loads(await anext(stream))["n"] == 0
        behind = [asyncio.create_task(predict_pid(pool)) for _ in range(3)]
        assert orjson.loads(await anext(stream))["n"] == 1
        with pytest.raises(WorkerCrashed):
            await anext(stream)
    assert len(await asyncio.gather(*behind)) == 3


async def test_a_crash_between_two_chunks(pool: Pool) -> None:
    """No client waits when the process is killed; the next request for a chunk gets the error."""
    with closing(await pool.stream(STREAMS, command("count 9"))) as stream:
        process = psutil.Process(orjson.loads(await anext(stream))["pid"])
        process.kill()
        await until(lambda: not process.is_running())
        with pytest.raises(WorkerCrashed):
            await anext(stream)
    assert await predict_pid(pool) != [process.pid]


@pytest.mark.parametrize("before", ["", "count 1; "])
async def test_a_generator_that_hangs_is_killed(opened: OpenPool, files: FindFiles, before: str) -> None:
    """Its worker is killed and replaced when a chunk takes longer than a request may."""
    async with opened(request_seconds=1.0) as pool:
        await load(pool, files("streams"))
        (process,) = worker_pids(pool)
        with pytest.raises(PredictionTimeout):
            await read_all(pool, f"{before}sleep 600")
        await until(lambda: not psutil.pid_exists(process))
        await until(lambda: bool(worker_pids(pool)))
        assert worker_pids(pool) != [process]


async def test_a_generator_that_hangs_as_it_closes_is_killed(opened: OpenPool, files: FindFiles) -> None:
    """Its worker is killed and replaced too, though no client waits for the stream any more."""
    async with opened(request_seconds=4.0) as pool:
        await load(pool, files("streams"))
        (process,) = worker_pids(pool)
        with closing(await pool.stream(STREAMS, command("hang_on_close"))) as stream:
            assert await anext(stream) == b"1"
        await until(lambda: not psutil.pid_exists(process))
        await until(lambda: bool(worker_pids(pool)))
        assert worker_pids(pool) != [process]


async def test_a_generator_that_raises_as_it_closes_is_logged(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator sees the exception in the log, and the worker goes on."""
    process = await predict_pid(pool)
    with closing(await pool.stream(STREAMS, command("refuse_to_close"))) as stream:
        assert await anext(stream) == b"1"
    assert await predict_pid(pool) == process
    (record,) = [record for record in caplog.records if record.__dict__.get("event") == "stream_close_failed"]
    assert "ValueError" in record.getMessage()


async def test_a_stream_that_takes_too_long_is_closed(
    opened: OpenPool, files: FindFiles, tmp_path: Path
) -> None:
    """A stream has its own time limit; the generator is closed, and the worker serves others."""
    async with opened(request_seconds=60, stream_seconds=0.5, wall=NO_WALL) as pool:
        await load(pool, files("streams"))
        mark = tmp_path / "mark"
        with pytest.raises(PredictionTimeout, match=r"longer than 0\.5 s"):
            await read_all(pool, f"count 1000000 0.05 {mark}")
        assert await predict_pid(pool)
        assert mark.read_text().startswith("early")


async def test_closing_the_pool_waits_for_a_stream(opened: OpenPool, files: FindFiles) -> None:
    """A stream that ends within the drain time is whole, and the close then waits no longer."""
    async with opened(request_seconds=60) as pool:
        await load(pool, files("streams"))
        with closing(await pool.stream(STREAMS, command("count 10 0.02"))) as stream:
            close = asyncio.create_task(pool.close(drain_seconds=1_000))
            chunks = [chunk async for chunk in stream]
            async with asyncio.timeout(60):
                await close
        assert len(chunks) == 10


@pytest.mark.parametrize("waiting", [True, False])
async def test_closing_the_pool_ends_a_stream_that_takes_too_long(
    opened: OpenPool, files: FindFiles, *, waiting: bool
) -> None:
    """Whether a client waits for a chunk then or not, it gets PoolClosed, and no process is left."""
    async with opened(request_seconds=60) as pool:
        await load(pool, files("streams"))
        stream = await pool.stream(STREAMS, command("count 1; sleep 600"))
        process = psutil.Process(orjson.loads(await anext(stream))["pid"])
        next_chunk = asyncio.ensure_future(anext(stream)) if waiting else None
        await until(lambda: pool.status(STREAMS).running == waiting)
        await pool.close(drain_seconds=0.3)
        with pytest.raises(PoolClosed):
            await (next_chunk or anext(stream))
        stream.close()
        await until(lambda: not process.is_running())
