"""Large frames are received once there is memory for them, and counted until they are no longer held."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.api.body.memory_limit import BodyMemoryLimit
from tests.support.sockets import bodies_of, channel_pair, on_each_loop, reply_frame
from tests.support.waiting import until
from workers.answer_memory import AnswerLimits
from workers.errors import WorkerCrashed, WorkerProtocolError
from workers.metrics import Counters
from workers.process import large_frame
from workers.process.frame_body import PIECE_BYTES
from workers.protocol import framing
from workers.protocol.messages import Failure, Job, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.sockets import ChannelPair
    from workers.process.channel import BatchOutcome

LARGE = bytes(range(256)) * (PIECE_BYTES // 128)  # two pieces
LIMIT = 3 * PIECE_BYTES  # one such answer, but not two


@asynccontextmanager
async def pairs(memory: BodyMemoryLimit, *, wait_seconds: float = 60.0) -> AsyncIterator[list[ChannelPair]]:
    """Yield two channels that share the memory for answers."""
    async with channel_pair() as first, channel_pair() as second:
        for pair in (first, second):
            pair.channel.answers = AnswerLimits(memory=memory, wait_seconds=wait_seconds)
        yield [first, second]


def create_memory() -> BodyMemoryLimit:
    return BodyMemoryLimit(LIMIT, counters=Counters())


def reply_of(outcome: BatchOutcome) -> Reply:
    assert not isinstance(outcome, WorkerCrashed)
    (reply,) = outcome[0]
    assert isinstance(reply, Reply)
    return reply


@on_each_loop
async def test_an_answer_that_is_announced_and_does_not_come() -> None:
    """Its worker is ended, and others get the memory that it held."""
    memory = create_memory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_frame, "_ARRIVAL_SECONDS", 0.2)
        await check_that_it_is_ended(memory)


async def check_that_it_is_ended(memory: BodyMemoryLimit) -> None:
    """Announce an answer on one channel, and send one on another."""
    async with pairs(memory) as (first, second):
        announced, waiting = first.submit(), second.submit()
        await first.send(reply_frame(LARGE)[:100])
        await until(lambda: memory.answer_bytes == len(LARGE))
        await second.send(reply_frame(LARGE))
        assert isinstance(await announced, WorkerProtocolError)
        assert reply_of(await waiting).large is not None
        assert "announced" in first.channel.violation


@on_each_loop
async def test_an_answer_counts_until_it_is_read() -> None:
    """From its head on, all of it; then piece by piece less."""
    memory = create_memory()
    async with pairs(memory) as (pair, _):
        outcome = pair.submit()
        frame = reply_frame(LARGE)
        await pair.send(frame[:100])
        await until(lambda: memory.answer_bytes == len(LARGE))
        await pair.send(frame[100:])
        large = reply_of(await outcome).large
        assert large is not None
        assert memory.answer_bytes == len(LARGE)
        received = b""
        for piece in large:
            assert memory.answer_bytes == len(LARGE) - len(received)
            received += piece
        assert received == LARGE
        assert memory.answer_bytes == 0


@on_each_loop
async def test_an_answer_that_is_dropped_counts_no_more() -> None:
    """Also if nothing closes it: its client has left, for example."""
    memory = create_memory()
    async with pairs(memory) as (pair, _):
        outcome = pair.submit()
        await pair.send(reply_frame(LARGE))
        assert reply_of(await outcome).large
        del outcome
        gc.collect()
        await until(lambda: memory.answer_bytes == 0)


@on_each_loop
async def test_small_answers_of_a_large_frame_do_not_count() -> None:
    """They are copied out of it, and arrive in order with the large one."""
    memory = create_memory()
    bodies = [b"%d" % number * 1000 for number in range(100)]
    bodies[50:50] = [LARGE]
    async with pairs(memory) as (pair, _):
        outcome = pair.submit(*[Job(b"{}")] * len(bodies))
        await pair.send(reply_frame(*bodies))
        received = await outcome
        assert memory.answer_bytes == len(LARGE)
        assert bodies_of(received) == bodies
        assert memory.answer_bytes == 0


@on_each_loop
async def test_an_answer_waits_for_room() -> None:
    """Nothing of it is read until the first one is given up; its worker waits, and other frames do not."""
    memory = create_memory()
    async with pairs(memory) as (first, second):
        held = first.submit()
        await first.send(reply_frame(LARGE))
        large = reply_of(await held).large
        assert large is not None
        waiting = second.submit()
        sending = asyncio.ensure_future(second.send(reply_frame(LARGE)))
        await until(lambda: second.channel.paused)
        assert memory.answers_wait
        small = first.submit()
        await first.send(reply_frame(b"small"))
        assert bodies_of(await small) == [b"small"]
        assert not waiting.done()
        assert not sending.done()
        large.close()
        assert bodies_of(await waiting) == [LARGE]
        await sending
        assert not second.channel.paused
        assert memory.answer_bytes == 0


@on_each_loop
async def test_an_answer_for_which_there_is_no_room_in_time() -> None:
    """It is read and forgotten: its request fails, its worker goes on, and no memory is counted for it."""
    memory = create_memory()
    async with pairs(memory, wait_seconds=0.0) as (first, second):
        held = first.submit()
        await first.send(reply_frame(LARGE))
        refused, later = second.submit(Job(b""), Job(b"")), second.submit()
        await second.send(reply_frame(LARGE, b"small"), reply_frame(b"later"))
        outcome = await refused
        assert not isinstance(outcome, WorkerCrashed)
        assert [reply.kind for reply in outcome[0] if isinstance(reply, Failure)] == ["memory", "memory"]
        assert bodies_of(await later) == [b"later"]
        assert not memory.answers_wait
        assert memory.answer_bytes == len(LARGE)
        assert bodies_of(await held) == [LARGE]


@on_each_loop
async def test_the_end_of_a_worker_gives_back_its_memory() -> None:
    """Whether its answer was half read, or waited."""
    memory = create_memory()
    async with pairs(memory) as (first, second):
        outcomes = [first.submit(), second.submit()]
        await first.send(reply_frame(LARGE)[: PIECE_BYTES + 100])
        await until(lambda: memory.answer_bytes == len(LARGE))
        sending = asyncio.ensure_future(second.send(reply_frame(LARGE)))
        await until(lambda: memory.answers_wait)
        second.channel.abort()
        assert not memory.answers_wait
        first.worker_socket.close()
        assert all(isinstance(outcome, WorkerCrashed) for outcome in await asyncio.gather(*outcomes))
        assert memory.answer_bytes == 0
        await asyncio.gather(sending, return_exceptions=True)


@on_each_loop
async def test_an_answer_that_is_not_valid_gives_back_its_memory() -> None:
    """The entry claims more JSON than its body has."""
    memory = create_memory()
    async with pairs(memory) as (pair, _):
        outcome = pair.submit(Job(b""), Job(b""))
        parts = framing.encode_replies([Reply(LARGE, 0.0), Reply(LARGE[:500], 0.0, json_length=501)], 0.0)
        await pair.send(*parts)
        assert "JSON that is longer than its body" in str(await outcome)
        gc.collect()
        await until(lambda: memory.answer_bytes == 0)


@on_each_loop
async def test_the_loop_turns_while_a_large_answer_comes() -> None:
    """It turns at least once for every eight pieces, so it is never busy with the whole."""
    size = 64 * PIECE_BYTES
    async with channel_pair() as pair:
        outcome = pair.submit()
        sending = asyncio.ensure_future(pair.send(*framing.encode_replies([Reply(bytes(size), 0.0)], 0.0)))
        turns = 0
        while not outcome.done():
            await asyncio.sleep(0)
            turns += 1
        await sending
        assert turns >= 8
        large = reply_of(outcome.result()).large
        assert large is not None
        assert len(large) == size
