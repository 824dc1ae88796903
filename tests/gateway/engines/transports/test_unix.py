"""Proves that messages travel whole and in order over a Unix socket, and who may send any."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.engines.transports import unix_server, unix_stream
from gateway.engines.transports.unix_address import UnixAddress
from gateway.engines.transports.unix_client import connect
from gateway.engines.transports.unix_server import UnixServer
from tests.gateway.engines.transports.played_receiver import PlayedReceiver
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.engines.transports.protocol import Transport

TOKEN = b"a token of this run"


class Node:
    """A server, and its ends of the links that were made."""

    def __init__(self, path: str, token: bytes = TOKEN) -> None:
        self.path = path
        self.links: asyncio.Queue[tuple[Transport, PlayedReceiver]] = asyncio.Queue()
        self.server = UnixServer(self._accept, token=token)

    def _accept(self, transport: Transport) -> PlayedReceiver:
        receiver = PlayedReceiver()
        self.links.put_nowait((transport, receiver))
        return receiver

    async def link(self) -> tuple[Transport, PlayedReceiver, Transport, PlayedReceiver]:
        """Return both ends of a new link, the caller's first."""
        receiver = PlayedReceiver()
        transport = await connect(UnixAddress(self.path, TOKEN), receiver)
        async with asyncio.timeout(30):
            return transport, receiver, *await self.links.get()


@asynccontextmanager
async def serving(path: Path, token: bytes = TOKEN) -> AsyncIterator[Node]:
    """Run a node on a socket at `path`."""
    node = Node(str(path), token)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(node.path)
        listener.listen()
        await node.server.open(listener)
        try:
            yield node
        finally:
            node.server.close()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node that listens."""
    async with serving(tmp_path / "node") as node:
        yield node


async def test_messages_travel_whole_and_in_order(node: Node) -> None:
    """Of any size, from nothing to more than a buffer, and in several parts, both ways at once."""
    ours, received, theirs, arrived = await node.link()
    chance = random.Random(1)  # noqa: S311 - no secret
    sizes = [0, 1, 3, 65_536, 262_139, 262_140, 262_141, 262_145, 3_000_000, 5, 0, *range(200)]
    messages = [chance.randbytes(size) for size in sizes]
    for message in messages:
        ours.send([message[:2], memoryview(message)[2:]])
        theirs.send([message])
    for message in messages:
        assert await arrived.next() == message
        assert await received.next() == message
    assert ours.unsent_bytes == theirs.unsent_bytes == 0


async def test_bytes_that_come_one_by_one(node: Node) -> None:
    """A message is passed on when its last byte is there."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(node.path)
        for each in struct.pack("<I", len(TOKEN)) + TOKEN + struct.pack("<I", 3) + b"abc":
            caller.send(bytes([each]))
            await asyncio.sleep(0)
        _, arrived = await node.links.get()
        assert await arrived.next() == b"abc"


async def test_what_is_not_taken_is_counted(node: Node) -> None:
    """And a send never waits: the owner decides what is too much."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(node.path)
        caller.send(struct.pack("<I", len(TOKEN)) + TOKEN)
        transport, _ = await node.links.get()
        for _ in range(4):
            transport.send([bytes(2**20)])
        await asyncio.sleep(0)
        assert transport.unsent_bytes > 2**20


async def test_an_end_is_told_once_to_both(node: Node) -> None:
    """After `close`, which may be called again, nothing is sent."""
    ours, received, theirs, arrived = await node.link()
    assert node.server.links == 1
    ours.close()
    ours.close()
    ours.send([b"late"])
    assert await received.lost() == "closed here"
    assert await arrived.lost() == "closed by the other end"
    theirs.send([b"late"])
    theirs.close()
    await until(lambda: not node.server.links)
    assert ours.unsent_bytes == theirs.unsent_bytes == 0
    assert len(received.ends) == len(arrived.ends) == 1
    assert received.messages.empty()
    assert arrived.messages.empty()


async def test_the_end_of_the_node_ends_its_links(node: Node) -> None:
    """The socket stays: the next node accepts who has connected meanwhile."""
    _, received, _, _ = await node.link()
    node.server.close()
    assert await received.lost() == "closed by the other end"


async def test_the_next_node_accepts_those_that_wait(tmp_path: Path) -> None:
    """A listening socket outlives the node: a connection made while there is none becomes a link later."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "node"))
        listener.listen()
        for _ in range(2):
            received = PlayedReceiver()
            transport = await connect(UnixAddress(str(tmp_path / "node"), TOKEN), received)
            transport.send([b"asked"])
            node = Node(str(tmp_path / "node"))
            await node.server.open(listener)
            _, arrived = await node.links.get()
            assert await arrived.next() == b"asked"
            node.server.close()
            await received.lost()


@pytest.mark.parametrize("token", [b"", TOKEN[:-1], TOKEN + b"x", bytes(256), bytes(257), bytes(100_000)])
async def test_a_wrong_token(node: Node, token: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It ends the connection, which never becomes a link; the log tells, without the token."""
    received = PlayedReceiver()
    (await connect(UnixAddress(node.path, token), received)).send([b"never read"])
    await received.lost()
    await until(lambda: bool(caplog.records))
    assert vars(caplog.records[0])["event"] == "node_link_refused"
    assert node.links.empty()
    assert node.server.links == 0


async def test_no_token_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing is closed."""
    monkeypatch.setattr(unix_server, "_TOKEN_SECONDS", 0.05)
    async with serving(tmp_path / "node") as node:
        reader, writer = await asyncio.open_unix_connection(node.path)
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()


async def test_too_many_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the limit are closed at once; the others still have their time."""
    monkeypatch.setattr(unix_server, "_MAX_UNPROVEN", 2)
    async with serving(tmp_path / "node") as node:
        waiting = [await asyncio.open_unix_connection(node.path) for _ in range(3)]
        async with asyncio.timeout(30):
            assert await waiting[2][0].read() == b""
        for _, writer in waiting:
            writer.close()
        await node.link()


async def test_another_user(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of another user's process is closed, whatever it sends; and the caller tells no token."""
    received = PlayedReceiver()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    await connect(UnixAddress(node.path, TOKEN), received)
    assert await received.lost() == "the other end is another user's"
    assert node.links.empty()


async def test_a_message_that_is_too_large(node: Node) -> None:
    """Its length ends the link before any memory is taken."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(node.path)
        caller.send(struct.pack("<I", len(TOKEN)) + TOKEN + struct.pack("<I", 2**32 - 1))
        _, arrived = await node.links.get()
        assert str(unix_stream.MAX_MESSAGE_BYTES) in await arrived.lost()


async def test_nobody_listens(tmp_path: Path) -> None:
    """An OSError tells it at once."""
    with pytest.raises(FileNotFoundError):
        await connect(UnixAddress(str(tmp_path / "none"), TOKEN), PlayedReceiver())
