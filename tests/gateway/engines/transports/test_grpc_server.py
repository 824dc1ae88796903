"""The node's end of links over gRPC: two lanes are one transport, in order, with flow control and an end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc import aio

from gateway.engines.transports.grpc_server import AddressInUse, GrpcOptions, GrpcServer
from gateway.engines.wire import protocol
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.engines.transports.protocol import Transport

MIB = 2**20
PATH = f"/{protocol.SERVICE}/{protocol.METHOD}"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Recorder:
    """A receiver that keeps what it gets."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.messages: list[bytes] = []
        self.lost: list[str] = []

    def on_message(self, message: bytes) -> None:
        """Keep a message."""
        self.messages.append(message)

    def on_lost(self, reason: str) -> None:
        """Keep the reason."""
        self.lost.append(reason)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[str, list[Recorder]]]:
    """Run a server; yield its address and the receivers of its links."""
    receivers: list[Recorder] = []

    def accept(transport: Transport) -> Recorder:
        receivers.append(Recorder(transport))
        return receivers[-1]

    given = GrpcOptions(**{"host": "127.0.0.1", "port": 0, "max_body_bytes": 64 * MIB, **options})
    server = GrpcServer(accept, given)
    try:
        yield await server.open(), receivers
    finally:
        await server.close()


@asynccontextmanager
async def channel_to(address: str) -> AsyncIterator[aio.Channel]:
    """Yield a channel of its own."""
    async with aio.insecure_channel(address, [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


def lane(channel: aio.Channel, name: str, *, link: str = "1", **more: str) -> Any:
    """Begin the call of a lane."""
    metadata = [(protocol.PROTOCOL_KEY, "1-1"), (protocol.LINK_KEY, link), (protocol.LANE_KEY, name)]
    return channel.stream_stream(PATH)(metadata=[*metadata, *more.items()])


async def status(call: Any) -> grpc.StatusCode:
    """Return how a call ended."""
    async with asyncio.timeout(60):
        code: grpc.StatusCode = await call.code()
    return code


async def test_messages_of_both_lanes_reach_one_receiver() -> None:
    """In the order of each lane; answers take the lane for their size."""
    async with serving() as (address, receivers), channel_to(address) as one, channel_to(address) as two:
        small, large = lane(one, "small"), lane(two, "large")
        for number in range(5):
            await small.write(b"s%d" % number)
            await large.write(b"l%d" % number)
        await until(lambda: bool(receivers) and len(receivers[0].messages) == 10)
        (receiver,) = receivers
        assert [text for text in receiver.messages if text[:1] == b"s"] == [b"s%d" % n for n in range(5)]
        assert [text for text in receiver.messages if text[:1] == b"l"] == [b"l%d" % n for n in range(5)]
        receiver.transport.send([b"a", memoryview(b"b")])
        receiver.transport.send([bytes(MIB)])
        assert await small.read() == b"ab"
        assert await large.read() == bytes(MIB)
        await until(lambda: receiver.transport.unsent_bytes == 0)
        small.cancel()
        await until(lambda: bool(receiver.lost))
        assert await status(large) == grpc.StatusCode.OK
        receiver.transport.close()
        receiver.transport.send([b"after the end"])
        assert receiver.transport.unsent_bytes == 0
        assert len(receiver.lost) == 1


async def test_what_was_sent_before_the_end_arrives() -> None:
    """A refusal must be read: the gateway's operator looks at it."""
    async with serving() as (address, receivers), channel_to(address) as one, channel_to(address) as two:
        small, large = lane(one, "small"), lane(two, "large")
        await small.write(b"x")
        await until(lambda: bool(receivers) and bool(receivers[0].messages))
        for number in range(20):
            receivers[0].transport.send([b"%d" % number])
        receivers[0].transport.close()
        assert [await small.read() for _ in range(20)] == [b"%d" % number for number in range(20)]
        assert await small.read() == aio.EOF
        assert await status(small) == grpc.StatusCode.OK
        large.cancel()


async def test_a_small_message_does_not_wait_for_a_large_one() -> None:
    """The gateway reads nothing of the large lane, and the small one goes on."""
    async with serving() as (address, receivers), channel_to(address) as one, channel_to(address) as two:
        small, large = lane(one, "small"), lane(two, "large")
        await small.write(b"x")
        await until(lambda: bool(receivers) and bool(receivers[0].messages))
        transport = receivers[0].transport
        for _ in range(8):
            transport.send([bytes(16 * MIB)])
        for number in range(10):
            transport.send([b"%d" % number])
            assert await asyncio.wait_for(small.read(), 60) == b"%d" % number
        assert transport.unsent_bytes >= 64 * MIB  # the network holds a bounded part of it
        large.cancel()


async def test_a_gateway_that_reads_nothing_is_not_read_either() -> None:
    """So that what it asks for does not pile up at the node."""
    async with serving() as (address, receivers), channel_to(address) as one, channel_to(address) as two:
        small, large = lane(one, "small"), lane(two, "large")
        await small.write(b"x")
        await until(lambda: bool(receivers) and bool(receivers[0].messages))
        receiver = receivers[0]
        for _ in range(4):
            receiver.transport.send([bytes(16 * MIB)])
        for number in range(10):
            await small.write(b"%d" % number)
        await asyncio.sleep(0.3)
        assert len(receiver.messages) <= 2
        for _ in range(4):
            assert len(await asyncio.wait_for(large.read(), 60)) == 16 * MIB
        await until(lambda: len(receiver.messages) == 11)


@pytest.mark.parametrize(
    ("name", "link", "code"),
    [
        ("middle", "1", grpc.StatusCode.INVALID_ARGUMENT),
        ("small", "x" * 65, grpc.StatusCode.INVALID_ARGUMENT),
        ("small", "", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_call_that_is_no_lane_is_refused(name: str, link: str, code: grpc.StatusCode) -> None:
    """No receiver hears of it."""
    async with serving() as (address, receivers), channel_to(address) as channel:
        assert await status(lane(channel, name, link=link)) == code
        assert receivers == []


async def test_a_lane_cannot_be_taken_twice() -> None:
    """No other gateway reads what is for the first one."""
    async with serving() as (address, receivers), channel_to(address) as one, channel_to(address) as two:
        small = lane(one, "small")
        await small.write(b"x")
        await until(lambda: bool(receivers))
        assert await status(lane(two, "small")) == grpc.StatusCode.ALREADY_EXISTS
        await small.write(b"y")
        await until(lambda: receivers[0].messages == [b"x", b"y"])


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer no", "bearer right", "Basic right", "right"])
async def test_a_wrong_token_is_refused_before_anything_else(shown: str) -> None:
    """Whatever else is wrong with the call."""
    async with serving(token=b"right") as (address, receivers), channel_to(address) as channel:
        more = {protocol.AUTHORIZATION_KEY: shown} if shown else {}
        assert await status(lane(channel, "middle", **more)) == grpc.StatusCode.UNAUTHENTICATED
        right = lane(channel, "small", **{protocol.AUTHORIZATION_KEY: "Bearer right"})
        await right.write(b"x")
        await until(lambda: bool(receivers) and receivers[0].messages == [b"x"])


async def test_a_caller_without_the_token_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The first refusal of a kind is logged; another kind is another line."""
    async with serving(token=b"right") as (address, _), channel_to(address) as channel:
        for number in range(50):
            assert await status(lane(channel, "small", link=f"l{number}")) == grpc.StatusCode.UNAUTHENTICATED
        right = {protocol.AUTHORIZATION_KEY: "Bearer right"}
        assert await status(lane(channel, "middle", **right)) == grpc.StatusCode.INVALID_ARGUMENT
    refused = [
        vars(record)["reason"] for record in caplog.records if "refused" in vars(record).get("event", "")
    ]
    assert len(refused) == 2


async def test_a_message_that_is_too_large_ends_its_link_alone() -> None:
    """It is refused by its length, before it is read."""
    serves = serving(max_body_bytes=MIB)
    async with serves as (address, receivers), channel_to(address) as one, channel_to(address) as two:
        other, bad = lane(one, "small", link="other"), lane(two, "small", link="bad")
        await bad.write(bytes(24 * MIB))
        assert await status(bad) in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OK}
        await other.write(b"x")
        await until(lambda: any(each.messages == [b"x"] for each in receivers))
        assert sum(len(each.messages) for each in receivers) == 1


async def test_an_address_that_is_taken_is_an_error() -> None:
    """Else two nodes would share a port, and a gateway would find now one, now the other."""
    async with serving() as (address, _):
        with pytest.raises(AddressInUse):
            async with serving(port=int(address.rpartition(":")[2])):
                pass


async def test_closing_the_server_ends_all_links() -> None:
    """Each receiver learns it once."""
    async with serving() as (address, receivers), channel_to(address) as channel:
        small = lane(channel, "small")
        await small.write(b"x")
        await until(lambda: bool(receivers))
    await until(lambda: len(receivers[0].lost) == 1)


@pytest.mark.slow
async def test_connections_without_a_call_take_no_descriptor_for_long() -> None:
    """Neither a silent one nor one that speaks HTTP/2; the open link stays."""
    async with serving(token=b"right") as (address, receivers), channel_to(address) as channel:
        right = lane(channel, "small", **{protocol.AUTHORIZATION_KEY: "Bearer right"})
        other = lane(channel, "large", **{protocol.AUTHORIZATION_KEY: "Bearer right"})
        await right.write(b"x")
        host, _, port = address.rpartition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        for _, writer in opened[10:]:
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        async with asyncio.timeout(60):
            for reader, writer in opened:
                while await reader.read(1024):
                    pass
                writer.close()
        await right.write(b"y")
        await until(lambda: receivers[0].messages == [b"x", b"y"])
        other.cancel()
