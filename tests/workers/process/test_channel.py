"""Batches and replies over a real socket: each callback gets its own replies, however the bytes are split."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.sockets import bodies_of, channel_pair, echo, on_each_loop, reply_frame
from workers.errors import WorkerCrashed
from workers.protocol import framing
from workers.protocol.messages import Job, LoadReport

if TYPE_CHECKING:
    from workers.process.channel import BatchOutcome

LARGE = bytes(range(251)) * (8 * 2**20 // 251)


@on_each_loop
async def test_replies_come_in_the_order_of_the_batches() -> None:
    """A hundred batches of several sizes at once: each gets its own replies, and their seconds."""
    async with channel_pair() as pair:
        run = pair.serve(echo)
        batches = [[b"%d/%d" % (number, job) for job in range(number % 7 + 1)] for number in range(100)]
        outcomes = await asyncio.gather(*(pair.submit(*map(Job, bodies)) for bodies in batches))
        assert list(map(bodies_of, outcomes)) == batches
        assert {outcome[1] for outcome in outcomes if not isinstance(outcome, WorkerCrashed)} == {0.5}
        pair.channel.close()
        await run


@on_each_loop
async def test_replies_may_come_in_any_pieces() -> None:
    """Three frames, split at every position and then into single bytes, give the same replies."""
    frames = reply_frame(b"one", b"", b"two") + reply_frame(b"three") + reply_frame()
    jobs = [[Job(b"{}")] * 3, [Job(b"{}")], [Job(b"{}")]]
    for position in range(1, len(frames)):
        async with channel_pair() as pair:
            outcomes = [pair.submit(*batch) for batch in jobs]
            pair.feed(frames[:position])
            pair.feed(frames[position:])
            bodies = [bodies_of(outcome.result()) for outcome in outcomes]
            assert bodies == [[b"one", b"", b"two"], [b"three"], []]
    async with channel_pair() as pair:
        outcomes = [pair.submit(*batch) for batch in jobs]
        for byte in frames:
            pair.feed(bytes([byte]))
        assert bodies_of(outcomes[1].result()) == [b"three"]
        assert outcomes[2].done()


@on_each_loop
async def test_several_frames_may_come_in_one_packet() -> None:
    """Three frames and a part of the fourth: the fourth batch gets its reply once the rest has come."""
    async with channel_pair() as pair:
        outcomes = [pair.submit() for _ in range(4)]
        last = reply_frame(b"d")
        await pair.send(reply_frame(b"a"), reply_frame(b"b"), reply_frame(b"c"), last[:-1])
        assert list(map(bodies_of, await asyncio.gather(*outcomes[:3]))) == [[b"a"], [b"b"], [b"c"]]
        assert not outcomes[3].done()
        await pair.send(last[-1:])
        assert bodies_of(await outcomes[3]) == [b"d"]


@on_each_loop
async def test_large_bodies_go_both_ways() -> None:
    """Bodies of 8 MiB, more than the socket's buffer, arrive unchanged, alone and among others."""
    async with channel_pair() as pair:
        run = pair.serve(echo)
        batches = [[LARGE], [b"", LARGE, b"x", LARGE[:-1], b""], [b"small"]]
        outcomes = await asyncio.gather(*(pair.submit(*map(Job, bodies)) for bodies in batches))
        assert list(map(bodies_of, outcomes)) == batches
        pair.channel.close()
        await run


@on_each_loop
async def test_a_batch_of_more_parts_than_the_kernel_takes() -> None:
    """Two thousand bodies, more than one system call can send, arrive in both directions."""
    async with channel_pair() as pair:
        run = pair.serve(echo)
        for size in (0, 1, 1000):
            bodies = [b"%d" % number * size for number in range(2000)]
            assert bodies_of(await pair.submit(*map(Job, bodies))) == bodies
        pair.channel.close()
        await run


@on_each_loop
async def test_the_load_report_comes_first() -> None:
    """The report that a worker sends unasked is not taken for the reply to the first batch."""
    async with channel_pair() as pair:
        report = pair.expect()
        outcome = pair.submit()
        await pair.send(*framing.encode_replies([LoadReport(1.5, streamable=True)], 0.0), reply_frame(b"a"))
        assert await report == ((LoadReport(1.5, streamable=True),), 0.0)
        assert bodies_of(await outcome) == [b"a"]


@on_each_loop
async def test_a_callback_that_raises_affects_no_other() -> None:
    """The loop's handler gets the error, the other callbacks their replies, and the channel stays open."""
    async with channel_pair(expect_errors=True) as pair:
        pair.channel.send([Job(b"{}")], _raise)
        outcome = pair.submit()
        await pair.send(reply_frame(b"a"), reply_frame(b"b"))
        assert bodies_of(await outcome) == [b"b"]
        later = pair.submit()
        await pair.send(reply_frame(b"c"))
        assert bodies_of(await later) == [b"c"]
        assert [str(error) for error in pair.errors] == ["trouble"]
        assert pair.lost_count == 0


@on_each_loop
async def test_a_callback_may_send_a_batch() -> None:
    """It can be answered; on a lost channel its callback gets WorkerCrashed, once."""
    async with channel_pair() as pair:
        nested: list[asyncio.Future[BatchOutcome]] = []
        for _ in range(2):
            pair.channel.send([Job(b"{}")], lambda _: nested.append(pair.submit()))
        outcome = pair.submit()
        await pair.send(*map(reply_frame, (b"a", b"b", b"c", b"d")))
        assert bodies_of(await outcome) == [b"c"]
        assert bodies_of(await nested[0]) == [b"d"]
        pair.channel.send([Job(b"{}")], lambda _: nested.append(pair.submit()))
        pair.channel.abort()
        failed = await asyncio.gather(*nested[1:])
        assert all(isinstance(each, WorkerCrashed) for each in failed)
        assert len(failed) == 2


@on_each_loop
async def test_a_batch_that_cannot_be_encoded_shifts_no_replies() -> None:
    """It fails at once, and the next batches get their own replies."""
    async with channel_pair() as pair:
        with pytest.raises(struct.error):
            pair.submit(Job(b"{}", json_length=2**63))
        outcomes = [pair.submit() for _ in range(2)]
        await pair.send(reply_frame(b"a"), reply_frame(b"b"))
        assert list(map(bodies_of, await asyncio.gather(*outcomes))) == [[b"a"], [b"b"]]


def _raise(_: BatchOutcome) -> None:
    raise ValueError("trouble")
