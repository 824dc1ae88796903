"""Every end that a channel can have: each asker hears of it once, whatever the worker did or sent."""

from __future__ import annotations

import asyncio
import struct
import sys
from math import inf, nan
from typing import TYPE_CHECKING

import pytest

from tests.support.sockets import bodies_of, echo, line, on_each_loop, replies
from workers.errors import WorkerCrashed
from workers.process.channel import DiedBefore
from workers.protocol import framing
from workers.protocol.messages import Job, NextChunk

if TYPE_CHECKING:
    from workers.process.channel import BatchOutcome
    from workers.protocol.messages import WorkerReply, WorkerRequest

UNKNOWN_KIND = struct.pack("<BBBqdQ", 9, 0, 0, -1, 0.0, 0)
GARBAGE = {
    "noise": b"\xff" * framing.HEADER.size,
    "too many": framing.HEADER.pack(framing.MAX_ENTRIES + 1, 0, 0.0),
    "too large": framing.HEADER.pack(1, 2**31 + 1, 0.0),
    "huge": framing.HEADER.pack(2**32 - 1, 2**64 - 1, 0.0),
    "no time": framing.HEADER.pack(0, 0, nan),
    "endless": framing.HEADER.pack(0, 0, inf),
    "negative": framing.HEADER.pack(0, 0, -1.0),
    "no kind": framing.HEADER.pack(1, 0, 0.0) + UNKNOWN_KIND,
    "left over": framing.HEADER.pack(0, 1, 0.0) + b"x",
    "text": b"Traceback (most recent call last):\n",
}


@on_each_loop
async def test_a_worker_that_sends_what_is_no_answer_is_cut() -> None:
    """What was answered before is heard, the others hear of the death, and the cut is told once."""
    for name, garbage in GARBAGE.items():
        async with line() as one:
            asked = [one.asked() for _ in range(3)]
            await one.send(replies(b"a"), garbage, replies(b"b"), replies(b"c"))
            heard = await asyncio.gather(*asked)
            assert bodies_of(heard[0]) == [b"a"], name
            assert all(isinstance(told, WorkerCrashed) for told in heard[1:]), name
            one.channel.abort()
            assert isinstance(await one.asked(), WorkerCrashed), name
            assert one.cuts == 1, name


@on_each_loop
async def test_a_worker_that_answers_unasked_is_cut() -> None:
    """It may not lay down an answer for whoever asks next."""
    async with line() as one:
        asked = one.asked()
        await one.send(replies(b"a"), replies(b"forged"))
        assert bodies_of(await asked) == [b"a"]
        await one.cut.wait()
        assert isinstance(await one.asked(), WorkerCrashed)
        assert one.cuts == 1


@on_each_loop
async def test_the_end_of_a_worker_is_heard() -> None:
    """What it had answered comes first, half an answer is none, and the cut is told once."""
    async with line() as one:
        asked = [one.asked() for _ in range(3)]
        await one.send(replies(b"a"), replies(b"b")[:-1])
        one.far.close()
        heard = await asyncio.gather(*asked)
        assert bodies_of(heard[0]) == [b"a"]
        assert all(isinstance(told, WorkerCrashed) for told in heard[1:])
        await one.cut.wait()
        one.channel.abort()
        assert one.cuts == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket does not tell what was not read")
@on_each_loop
async def test_a_batch_that_was_not_read_is_told_from_the_one_that_was() -> None:
    """The worker may have died of what it had read, whole; it has not begun with what it had not."""
    for read, told in ((0, [DiedBefore]), (1, [WorkerCrashed]), (1, [WorkerCrashed, DiedBefore])):
        async with line() as one:
            asked = [one.asked(Job(b"x" * 100)) for _ in told]
            for _ in range(read):
                await asyncio.get_running_loop().sock_recv(
                    one.far, len(b"".join(framing.encode_requests([Job(b"x" * 100)])))
                )
            one.far.close()
            assert [type(heard) for heard in await asyncio.gather(*asked)] == told
    async with line() as one:
        one.far.close()
        assert isinstance(await one.asked(), DiedBefore)


@on_each_loop
async def test_an_asker_after_the_end_is_told_later() -> None:
    """It hears once, but never before `ask` returns; so does who only expects."""
    async with line() as one:
        one.channel.abort()
        assert one.cuts == 1
        asked = one.asked()
        expected: asyncio.Future[BatchOutcome] = asyncio.get_running_loop().create_future()
        one.channel.expect_reply(expected.set_result)
        assert not asked.done()
        assert not expected.done()
        assert [type(told) for told in await asyncio.gather(asked, expected)] == [DiedBefore, DiedBefore]
        assert one.cuts == 1


@on_each_loop
async def test_the_worker_finds_the_end_of_its_batches() -> None:
    """After `close` its run returns; that is no cut, and nobody who asks is left without an answer."""
    async with line() as one:
        run = one.serve(echo)
        assert bodies_of(await one.asked(Job(b"a"))) == [b"a"]
        one.channel.close()
        asked = one.asked()
        await run
        assert isinstance(await asked, WorkerCrashed)
        assert one.cuts == 0


@on_each_loop
async def test_who_waits_at_the_close_is_told() -> None:
    """What was sent before the close still goes to the worker; its answer comes to nobody."""
    async with line() as one:
        asks: list[WorkerRequest] = [Job(bytes(4 * 2**20)), NextChunk(7)]
        asked = one.asked(*asks)
        one.channel.close()
        sent = b""
        while more := await asyncio.get_running_loop().sock_recv(one.far, 2**20):
            sent += more
        assert sent == b"".join(framing.encode_requests(asks))
        assert isinstance(await asked, WorkerCrashed)
        assert one.cuts == 0


@on_each_loop
async def test_an_asker_that_raises_at_a_death_takes_nobody_with_it() -> None:
    """The others are told of the death too, and so is the owner."""
    async with line(raises=True) as one:
        one.channel.send([Job(b"{}")], _trouble)
        asked = one.asked()
        one.far.close()
        assert isinstance(await asked, WorkerCrashed)
        await one.cut.wait()
        assert [str(error) for error in one.raised] == ["trouble"]
        assert one.cuts == 1


@on_each_loop
async def test_a_service_that_fails_leaves_nobody_waiting() -> None:
    """Its process may live on; the askers hear at once that it answers no more."""
    async with line() as one:
        asked = [one.asked(), one.asked()]
        run = one.serve(_failing)
        assert all(isinstance(told, WorkerCrashed) for told in await asyncio.gather(*asked))
        assert one.cuts == 1
        with pytest.raises(ZeroDivisionError):
            await run


def _failing(_: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
    raise ZeroDivisionError


def _trouble(_: BatchOutcome) -> None:
    raise ValueError("trouble")
