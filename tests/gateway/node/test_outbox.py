"""Replies of one turn are one message, large ones wait for a slow reader, none is sent after the end."""

from __future__ import annotations

import asyncio

from gateway.engines.wire.messages import JobFailed, Replies
from gateway.node.outbox import HIGH_WATER_BYTES, Outbox
from tests.gateway.node.played import PlayedTransport
from tests.support.waiting import until
from workers.errors import ModelError
from workers.protocol.large_body import LargeBody
from workers.protocol.messages import Chunk, Reply

SMALL = Reply(b"[1]", 0.5)


def outbox(transport: PlayedTransport) -> Outbox:
    """Return an outbox whose reader is never given up."""
    return Outbox(transport, on_stalled=transport.close)


def large(size: int, released: list[int]) -> Reply:
    """Return a reply whose body is held until it is read."""
    body = LargeBody([memoryview(bytes(size))], release=released.append, release_later=released.append)
    return Reply(b"", 0.5, large=body)


async def test_replies_of_one_turn_are_one_message() -> None:
    """In their order; an error or another message comes after those that were there before it."""
    box = outbox(transport := PlayedTransport())
    for job_id in range(3):
        box.reply(job_id, SMALL)
    box.fail(3, ModelError("no"))
    box.reply(4, Chunk(b"x"))
    await asyncio.sleep(0)
    first, failed, last = transport.sent
    assert first == Replies((0, 1, 2), (SMALL,) * 3)
    assert isinstance(failed, JobFailed)
    assert last == Replies((4,), (Chunk(b"x"),))


async def test_large_replies_wait_while_the_network_takes_nothing() -> None:
    """They stay counted where they came from; small ones wait too, and all come when there is room."""
    released: list[int] = []
    box = outbox(transport := PlayedTransport())
    transport.unsent_bytes = HIGH_WATER_BYTES + 1
    assert box.blocked
    box.reply(1, large(2**20, released))
    box.reply(2, SMALL)
    await asyncio.sleep(0.05)
    assert (transport.sent, released) == ([], [])
    transport.unsent_bytes = 0
    await until(lambda: len(transport.sent) == 2)
    assert transport.sent[0] == Replies((2,), (SMALL,))
    assert sum(released) == 2**20


async def test_a_batch_has_a_bound() -> None:
    """More bytes than take the lane of small messages are several messages."""
    box = outbox(transport := PlayedTransport())
    for job_id in range(10):
        box.reply(job_id, Reply(bytes(100_000), 0.5))
    await asyncio.sleep(0)
    assert [len(message.ids) for message in transport.sent if isinstance(message, Replies)] == [2] * 5


async def test_after_the_end_nothing_is_sent_and_nothing_held() -> None:
    """What waited is given up, and so is what comes later."""
    released: list[int] = []
    box = outbox(transport := PlayedTransport())
    transport.unsent_bytes = HIGH_WATER_BYTES + 1
    box.reply(1, large(1000_000, released))
    box.close()
    box.reply(2, large(500_000, released))
    box.reply(3, SMALL)
    box.fail(4, ModelError("no"))
    await asyncio.sleep(0.05)
    assert (transport.sent, sum(released)) == ([], 1_500_000)
