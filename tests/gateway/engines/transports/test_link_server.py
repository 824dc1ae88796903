"""What a node makes of connections: lanes of one gateway are one link, and whatever else comes is refused."""

from __future__ import annotations

import asyncio
import json
from secrets import token_hex
from typing import Any

import pytest

from tests.gateway.engines.transports.serving import LINK, MIB, TOKEN, Serving, ended, serving
from tests.support.node_client import LaneRefused, open_raw, shake_hands
from tests.support.waiting import until


async def test_messages_of_both_lanes_reach_one_receiver() -> None:
    """In the order of each lane; answers take the lane for their size."""
    async with serving() as node:
        small, large = await node.open_lane(), await node.open_lane("large")
        ((transport, receiver),) = node.links
        for number in range(5):
            await small.write(b"s%d" % number)
            await large.write(b"l%d" % number)
        messages = [await receiver.next() for _ in range(10)]
        assert [text for text in messages if text[:1] == b"s"] == [b"s%d" % number for number in range(5)]
        assert [text for text in messages if text[:1] == b"l"] == [b"l%d" % number for number in range(5)]
        transport.send([b"a", memoryview(b"b")])
        transport.send([bytes(MIB)])
        assert await small.read() == b"ab"
        assert await large.read() == bytes(MIB)
        small.close()
        await receiver.lost()
        assert await ended(large) == b""
        transport.close()
        transport.send([b"after the end"])
        assert transport.unsent_bytes == 0
        assert len(receiver.ends) == 1


async def test_bytes_that_come_one_by_one() -> None:
    """A message is passed on when its last byte is there."""
    async with serving() as node:
        small = await node.open_lane()
        for each in (3).to_bytes(8, "little") + b"abc":
            await small.write_raw(bytes([each]))
            await asyncio.sleep(0)
        assert await node.links[0][1].next() == b"abc"
        small.close()


async def test_what_was_sent_before_the_end_arrives() -> None:
    """A reason must be read: the gateway's operator looks at it. Also if the gateway still sends."""
    async with serving() as node:
        small = await node.open_lane()
        transport, _ = node.links[0]
        for number in range(20):
            await small.write(bytes(1000))
            transport.send([b"%d" % number])
        transport.close()
        assert [await small.read() for _ in range(20)] == [b"%d" % number for number in range(20)]
        assert await ended(small) == b""


async def test_a_gateway_that_never_reads_does_not_hold_the_end_up() -> None:
    """What it does not take within a second is dropped."""
    async with serving() as node:
        small = await node.open_lane()
        transport, _ = node.links[0]
        for _ in range(4):
            transport.send([bytes(16 * MIB)])
        transport.close()
        await until(lambda: transport.unsent_bytes == 0)
        small.close()


async def test_a_small_message_does_not_wait_for_a_large_one() -> None:
    """The gateway reads nothing of the large lane, and the small one goes on."""
    async with serving() as node:
        small, large = await node.open_lane(), await node.open_lane("large")
        transport, _ = node.links[0]
        for _ in range(8):
            transport.send([bytes(16 * MIB)])
        for number in range(10):
            transport.send([b"%d" % number])
            assert await asyncio.wait_for(small.read(), 60) == b"%d" % number
        assert transport.unsent_bytes >= 64 * MIB  # the network holds a bounded part of it
        large.close()
        small.close()


async def test_a_gateway_that_reads_nothing_is_not_read_either() -> None:
    """So that what it asks for does not pile up at the node."""
    async with serving() as node:
        small, large = await node.open_lane(), await node.open_lane("large")
        transport, receiver = node.links[0]
        for _ in range(4):
            transport.send([bytes(16 * MIB)])
        await asyncio.sleep(0)
        for number in range(10):
            await small.write(b"%d" % number)
        await asyncio.sleep(0.3)
        assert receiver.messages.empty()
        for _ in range(4):
            assert len(await asyncio.wait_for(large.read(), 60)) == 16 * MIB
        assert [await receiver.next() for _ in range(10)] == [b"%d" % number for number in range(10)]
        small.close()
        large.close()


async def test_a_link_that_was_reset_can_be_ended() -> None:
    """Its connections cannot be ended in the usual way any more, which the loop may not have told yet."""
    async with serving() as node:
        small, large = await node.open_lane(), await node.open_lane("large")
        transport, receiver = node.links[0]
        small.reset()
        large.reset()
        await asyncio.sleep(0)  # the resets are there, and not read
        transport.close()
        await receiver.lost()
        assert node.server.links == 0
        assert len(receiver.ends) == 1


WRONG: dict[str, dict[str, Any]] = {
    "another lane": {"lane": "middle"},
    "a long link": {"link": "0" * 33},
    "a short link": {"link": "0" * 31},
    "a link that is no text": {"link": 7},
    "a short number": {"nonce": "00"},
    "a proof that is no text": {"proof": ["a"]},
}


@pytest.mark.parametrize("more", WRONG.values(), ids=WRONG.keys())
async def test_an_opening_of_another_form_ends_its_connection(more: dict[str, Any]) -> None:
    """Without a word to the caller; the other links stay."""
    async with serving(token=b"") as node:
        other = await node.open_lane(token="")
        raw = await open_raw(node.address)
        with pytest.raises((asyncio.IncompleteReadError, OSError)):
            await shake_hands(raw, token="", **more)
        raw.close()
        await other.write(b"x")
        assert await node.links[0][1].next() == b"x"
        assert len(node.links) == 1
        other.close()


NO_OPENING = {
    "no JSON": b"{",
    "no object": b"[]",
    "deep JSON": b"[" * 4000,
    "nothing": b"",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("message", NO_OPENING.values(), ids=NO_OPENING.keys())
async def test_a_message_that_is_no_opening_ends_its_connection(message: bytes) -> None:
    """As soon as it is there."""
    async with serving() as node:
        raw = await open_raw(node.address)
        await raw.write(message)
        assert json.loads(await ended(raw)).keys() == {"protocols", "nonce"}
        assert not node.links


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"\x16\x03\x01\x02" * 2]
)
async def test_a_caller_that_speaks_something_else_is_ended(start: bytes) -> None:
    """HTTP and TLS begin with what would be the length of an endless message."""
    async with serving() as node:
        raw = await open_raw(node.address)
        await raw.write_raw(start)
        await ended(raw)
        assert not node.links


async def test_a_lane_cannot_be_taken_twice() -> None:
    """No other gateway reads what is for the first one."""
    async with serving() as node:
        small = await node.open_lane()
        large = await node.open_lane("large")
        for lane in ("small", "large"):
            with pytest.raises(LaneRefused, match="lane"):
                await node.open_lane(lane)
        with pytest.raises(LaneRefused, match="lane"):
            await node.open_lane("large", link=token_hex(16))
        await small.write(b"y")
        assert await node.links[0][1].next() == b"y"
        small.close()
        large.close()


async def test_a_proof_is_of_use_once() -> None:
    """What a listener on the network has read opens no link, and neither does the node's own proof."""
    async with serving() as node:
        first = await open_raw(node.address)
        verdict = await shake_hands(first, token=TOKEN, link=LINK)
        for proof in (verdict["shown"], verdict["proof"], "0" * 64):
            for lane in ("small", "large"):
                raw = await open_raw(node.address)
                with pytest.raises(LaneRefused, match="token"):
                    await shake_hands(raw, token=TOKEN, link=LINK, lane=lane, proof=proof)
                raw.close()
        first.close()


async def test_a_message_that_is_too_large_ends_its_link_alone() -> None:
    """It is refused by its length, before it is read."""
    async with serving(max_body_bytes=MIB) as node:
        other, bad = await node.open_lane(), await node.open_lane(link=token_hex(16))
        await bad.write_raw((24 * MIB).to_bytes(8, "little"))
        assert "are allowed" in await node.links[1][1].lost()
        await ended(bad)
        await bad_length(node)
        await other.write(b"x")
        assert await node.links[0][1].next() == b"x"
        other.close()


async def bad_length(node: Serving) -> None:
    """Send the largest length that there is."""
    bad = await node.open_lane(link=token_hex(16))
    await bad.write_raw(b"\xff" * 8)
    await ended(bad)


async def test_closing_the_server_ends_all_links() -> None:
    """Each receiver learns it once; connections without a proof end too."""
    async with serving() as node:
        small = await node.open_lane()
        silent = await open_raw(node.address)
        await silent.read()
        await node.server.close()
        await node.links[0][1].lost()
        assert len(node.links[0][1].ends) == 1
        await ended(small)
        await ended(silent)
