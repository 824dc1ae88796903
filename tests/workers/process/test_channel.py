"""Batches out and answers in over a real socket: each asker hears its own answers, in whatever pieces."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.sockets import bodies_of, echo, line, on_each_loop, replies
from workers.errors import WorkerCrashed
from workers.protocol import framing
from workers.protocol.messages import Job, LoadReport

if TYPE_CHECKING:
    from workers.process.channel import BatchOutcome

LARGE = bytes(range(251)) * (8 * 2**20 // 251)


@on_each_loop
async def test_each_asker_hears_its_answers_in_order() -> None:
    """A hundred batches of every size at once: each has its own answers, and the seconds they took."""
    async with line() as one:
        run = one.serve(echo)
        batches = [[b"%d/%d" % (at, job) for job in range(at % 7 + 1)] for at in range(100)]
        heard = await asyncio.gather(*(one.asked(*map(Job, bodies)) for bodies in batches))
        assert list(map(bodies_of, heard)) == batches
        assert {told[1] for told in heard if not isinstance(told, WorkerCrashed)} == {0.5}
        one.channel.close()
        await run


@on_each_loop
async def test_answers_may_come_in_any_pieces() -> None:
    """Three frames cut at every place there is, and byte by byte: the same answers."""
    frames = replies(b"one", b"", b"two") + replies(b"three") + replies()
    for at in range(1, len(frames)):
        async with line() as one:
            asked = [one.asked() for _ in range(3)]
            one.channel.data_received(frames[:at])
            one.channel.data_received(frames[at:])
            heard = [bodies_of(told.result()) for told in asked]
            assert heard == [[b"one", b"", b"two"], [b"three"], []]
    async with line() as one:
        asked = [one.asked() for _ in range(3)]
        for byte in frames:
            one.channel.data_received(bytes([byte]))
        assert bodies_of(asked[1].result()) == [b"three"]
        assert asked[2].done()


@on_each_loop
async def test_several_frames_may_come_in_one_packet() -> None:
    """And the beginning of the next with them: it is heard when its end is there."""
    async with line() as one:
        asked = [one.asked() for _ in range(4)]
        last = replies(b"d")
        await one.send(replies(b"a"), replies(b"b"), replies(b"c"), last[:-1])
        assert [bodies_of(told) for told in await asyncio.gather(*asked[:3])] == [[b"a"], [b"b"], [b"c"]]
        assert not asked[3].done()
        await one.send(last[-1:])
        assert bodies_of(await asked[3]) == [b"d"]


@on_each_loop
async def test_large_bodies_go_both_ways() -> None:
    """Eight MiB, alone and among others, more than fits into the socket, and nothing is changed."""
    async with line() as one:
        run = one.serve(echo)
        batches = [[LARGE], [b"", LARGE, b"x", LARGE[:-1], b""], [b"small"]]
        heard = await asyncio.gather(*(one.asked(*map(Job, bodies)) for bodies in batches))
        assert list(map(bodies_of, heard)) == batches
        one.channel.close()
        await run


@on_each_loop
async def test_a_batch_of_more_parts_than_the_kernel_takes() -> None:
    """Two thousand bodies are more than one call can send, here and there, and so are their answers."""
    async with line() as one:
        run = one.serve(echo)
        for size in (0, 1, 1000):
            bodies = [b"%d" % at * size for at in range(2000)]
            assert bodies_of(await one.asked(*map(Job, bodies))) == bodies
        one.channel.close()
        await run


@on_each_loop
async def test_what_a_worker_says_first_is_heard() -> None:
    """The report of its load is nobody's answer but was expected; the first batch's answers come after."""
    async with line() as one:
        report: asyncio.Future[BatchOutcome] = asyncio.get_running_loop().create_future()
        one.channel.expect_reply(report.set_result)
        asked = one.asked()
        await one.send(*framing.encode_replies([LoadReport(1.5, streamable=True)], 0.0), replies(b"a"))
        assert await report == ((LoadReport(1.5, streamable=True),), 0.0)
        assert bodies_of(await asked) == [b"a"]


@on_each_loop
async def test_an_asker_that_raises_takes_nobody_with_it() -> None:
    """Its error goes to the loop's handler; the others hear their answers, and the worker lives on."""
    async with line(raises=True) as one:
        one.channel.send([Job(b"{}")], _trouble)
        asked = one.asked()
        await one.send(replies(b"a"), replies(b"b"))
        assert bodies_of(await asked) == [b"b"]
        again = one.asked()
        await one.send(replies(b"c"))
        assert bodies_of(await again) == [b"c"]
        assert [str(error) for error in one.raised] == ["trouble"]
        assert one.cuts == 0


@on_each_loop
async def test_an_asker_may_ask_as_it_hears() -> None:
    """A free worker gets its next batch at once; at a death it is told later, and not for ever."""
    async with line() as one:
        again: list[asyncio.Future[BatchOutcome]] = []
        for _ in range(2):
            one.channel.send([Job(b"{}")], lambda _: again.append(one.asked()))
        asked = one.asked()
        await one.send(*map(replies, (b"a", b"b", b"c", b"d")))
        assert bodies_of(await asked) == [b"c"]
        assert bodies_of(await again[0]) == [b"d"]
        one.channel.send([Job(b"{}")], lambda _: again.append(one.asked()))
        one.channel.abort()
        told = await asyncio.gather(*again[1:])
        assert all(isinstance(each, WorkerCrashed) for each in told)
        assert len(told) == 2


@on_each_loop
async def test_a_batch_that_has_no_form_moves_no_answers() -> None:
    """Its asker is refused on the spot, and the next hears its own answers, not another's."""
    async with line() as one:
        with pytest.raises(struct.error):
            one.asked(Job(b"{}", json_length=2**63))
        asked = [one.asked() for _ in range(2)]
        await one.send(replies(b"a"), replies(b"b"))
        assert [bodies_of(told) for told in await asyncio.gather(*asked)] == [[b"a"], [b"b"]]


def _trouble(_: BatchOutcome) -> None:
    raise ValueError("trouble")
