"""What a worker may send is judged by the heads of its frames: nothing beyond a bound is read, or kept."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.sockets import LOOPS, TIMEOUT_SECONDS, bodies_of, channel_pair, on_each_loop, reply_frame
from workers.answer_memory import AnswerLimits
from workers.errors import WorkerCrashed, WorkerProtocolError
from workers.process.frame_body import PIECE_BYTES
from workers.protocol import bounds, framing
from workers.protocol.messages import Chunk, Failure, Job, LoadReport, NextChunk, Reply, RowBatching
from workers.protocol.reply_entries import CHUNK, FAILURE, LOAD_REPORT, REPLY, REPLY_ENTRY, STREAM_END

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.sockets import ChannelPair

MAX_ANSWERS = 3 * PIECE_BYTES
FIELDS = {"kind": "input", "message": "m", "exception": "", "text": "", "log": "", "details_total": 9000}


def head(*entries: tuple[int, int], size: int | None = None, seconds: float = 0.0) -> bytes:
    """Return a header and the entries of bodies of these kinds and sizes."""
    total = sum(each for _, each in entries) if size is None else size
    packed = [REPLY_ENTRY.pack(kind, 0, 0, -1, 0.0, each, 0) for kind, each in entries]
    return framing.HEADER.pack(len(entries), total, seconds) + b"".join(packed)


def failure(problems: int, *, log: int = 0) -> bytes:
    return orjson.dumps(FIELDS | {"details": [[0, None, ""]] * problems, "log": "x" * log})


HEADS = {
    "an answer": (head((REPLY, MAX_ANSWERS + 1)), 1, "answers of 3145729 bytes, where 3145728"),
    "a chunk": (head((CHUNK, MAX_ANSWERS + 1)), 1, "answers of 3145729 bytes, where 3145728"),
    "an end": (head((STREAM_END, MAX_ANSWERS + 1)), 1, "answers of 3145729 bytes, where 3145728"),
    "two answers": (head(*[(REPLY, MAX_ANSWERS // 2 + 1)] * 2), 2, "answers of 3145730 bytes"),
    "a failure": (head((FAILURE, 2**18 + 1)), 1, "a failure of 262145 bytes, where 262144"),
    "the attack": (head((FAILURE, 120 * 2**20)), 1, "bodies of 125829120 bytes, where 5246976"),
    "failures": (head(*[(FAILURE, 2**18)] * 9), 9, "failures of 2359296 bytes, where 2097152"),
    "a load report": (head((LOAD_REPORT, 4097)), 1, "a load report of 4097 bytes, where 4096"),
    "more replies": (head((REPLY, 1), (REPLY, 1)), 1, "2 replies, where 1 are allowed"),
    "many replies": (framing.HEADER.pack(2**32 - 1, 0, 0.0), 1, "4294967295 replies, where 1 are allowed"),
    "all bodies": (framing.HEADER.pack(1, 2**64 - 1, 0.0), 1, "bodies of 18446744073709551615 bytes"),
    "an unknown kind": (head((9, 10)), 1, "a reply of an unknown kind"),
    "a size beyond its frame": (head((REPLY, 2**64 - 1), (REPLY, 1), size=0), 2, "a body that is too short"),
    "another sum": (head((REPLY, 70_000), size=80_000), 1, "bodies of 80000 bytes, where their entries say"),
    "a negative duration": (head((REPLY, 10), seconds=-1.0), 1, "a duration that is not valid"),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", HEADS)
def test_a_head_beyond_a_bound_ends_the_worker(loop: str, name: str) -> None:
    """It is not waited for the bodies. The batch that it was for gets the reason, the next one a crash."""
    sent, requests, reason = HEADS[name]

    async def run() -> None:
        async with limited_pair() as pair:
            guilty, other = pair.submit(*[Job(b"{}")] * requests), pair.submit()
            await pair.send(sent)
            outcome = await guilty
            assert isinstance(outcome, WorkerProtocolError), outcome
            assert reason in str(outcome)
            assert reason in pair.channel.violation
            assert type(await other) is WorkerCrashed
            assert pair.lost_count == 1

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(run(), TIMEOUT_SECONDS))


BODIES = {
    "problems": (FAILURE, failure(1001), "a failure of 1001 problems, where 1000 are allowed"),
    "no JSON": (FAILURE, b"{" * 20, "a reply that is not valid for its kind"),
    "no report": (LOAD_REPORT, b"[1, 2]", "a load report that is not valid"),
}


@on_each_loop
async def test_a_body_beyond_a_bound_ends_the_worker() -> None:
    """Bodies that had to be read before they could be judged."""
    for kind, body, reason in BODIES.values():
        async with limited_pair() as pair:
            outcome = pair.submit()
            await pair.send(head((kind, len(body))), body)
            assert reason in str(await outcome)
            assert reason in pair.channel.violation


@on_each_loop
async def test_all_problems_of_a_frame_are_bounded() -> None:
    """Failures that are each within the bounds may not have too many problems together."""
    body = failure(1000)
    count = bounds.MAX_ALL_PROBLEMS // 1000 + 1
    async with limited_pair() as pair:
        outcome = pair.submit(*[Job(b"{}")] * count)
        await pair.send(head(*[(FAILURE, len(body))] * count), body * count)
        assert "more than 25600 problems" in str(await outcome)


@on_each_loop
async def test_a_load_is_reported_in_few_bytes() -> None:
    """In place of a load report no answer may come, however small, and a failure may."""
    async with limited_pair() as pair:
        outcome = pair.expect()
        await pair.send(reply_frame(b"1"))
        assert isinstance(await outcome, WorkerProtocolError)
    async with limited_pair() as pair:
        outcome = pair.expect()
        await pair.send(*framing.encode_replies([Failure("load", "no", log="x" * 20_000)], 0.0))
        assert not isinstance(await outcome, WorkerCrashed)


@on_each_loop
async def test_what_is_within_the_bounds_arrives() -> None:
    """The largest answers, chunks, failures and load reports that are allowed."""
    body = failure(1000, log=2**18 - len(failure(1000)))
    assert len(body) == bounds.MAX_FAILURE_BYTES
    async with limited_pair() as pair:
        report = pair.expect()
        largest = LoadReport(1.0, row_batching=RowBatching(True, "\x01" * 10**6))
        outcomes = [
            pair.submit(),
            pair.submit(Job(b""), Job(b"")),
            pair.submit(NextChunk(1)),
            pair.submit(),
        ]
        half = bytes(range(256)) * (MAX_ANSWERS // 512)
        for part in (
            *framing.encode_replies([largest], 0.0),
            *framing.encode_replies([Reply(half + half, 0.0)], 0.0),
            *framing.encode_replies([Reply(half, 0.0), Reply(half, 0.0)], 0.0),
            *framing.encode_replies([Chunk(half + half)], 0.0),
            head((FAILURE, len(body))),
            body,
        ):
            await pair.send(part)
        assert not isinstance(await report, WorkerCrashed)
        assert bodies_of(await outcomes[0]) == [half + half]
        assert bodies_of(await outcomes[1]) == [half, half]
        streamed, failed = await outcomes[2], await outcomes[3]
        assert not isinstance(streamed, WorkerCrashed)
        assert not isinstance(failed, WorkerCrashed)
        assert isinstance(streamed[0][0], Chunk)
        assert streamed[0][0].large is not None
        assert b"".join(streamed[0][0].large) == half + half
        assert isinstance(failed[0][0], Failure)
        assert len(failed[0][0].details) == 1000


@on_each_loop
async def test_the_limit_may_change_between_batches() -> None:
    """A batch has the limit that was in force when it was sent."""
    limit = 10
    async with channel_pair() as pair:
        pair.channel.answers = AnswerLimits(lambda: limit)
        first = pair.submit()
        limit = 5
        second = pair.submit()
        await pair.send(reply_frame(b"x" * 10), reply_frame(b"x" * 6))
        assert bodies_of(await first) == [b"x" * 10]
        assert "answers of 6 bytes, where 5 are allowed" in str(await second)


def test_a_request_tells_the_worker_the_limit() -> None:
    """So that a worker sends a failure in place of a larger answer."""
    frame = b"".join(framing.encode_requests([Job(b"{}")], 12345))
    assert framing.REQUEST_HEADER.unpack_from(frame)[2] == 12345


@asynccontextmanager
async def limited_pair() -> AsyncIterator[ChannelPair]:
    """Yield a connected channel with a limit for answers."""
    async with channel_pair() as pair:
        pair.channel.answers = AnswerLimits(lambda: MAX_ANSWERS)
        yield pair
