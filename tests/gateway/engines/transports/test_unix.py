"""Proves that messages travel whole and in order over a Unix socket, and who may send any."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.engines.members import Member
from gateway.engines.transports import link_opening
from gateway.engines.transports.protocol import LinkRefused
from gateway.engines.transports.unix_address import UnixAddress
from gateway.engines.transports.unix_client import UnixConnector
from gateway.engines.transports.unix_server import UnixServer
from tests.gateway.engines.transports.played_receiver import PlayedReceiver
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.engines.transports.protocol import Transport

TOKEN = b"a token of this run"
HERE = Member("this machine", "this machine")


async def connect(path: str, receiver: PlayedReceiver, token: bytes = TOKEN) -> Transport:
    """Open a link as a gateway process does."""
    return await UnixConnector(UnixAddress(path, token)).connect(HERE, receiver)


class Node:
    """A server, and its ends of the links that were made."""

    def __init__(self, path: str, token: bytes = TOKEN) -> None:
        self.path = path
        self.links: asyncio.Queue[tuple[Transport, PlayedReceiver]] = asyncio.Queue()
        self.server = UnixServer(self._accept, token=token, max_body_bytes=2**24)

    def _accept(self, transport: Transport) -> PlayedReceiver:
        receiver = PlayedReceiver()
        self.links.put_nowait((transport, receiver))
        return receiver

    async def link(self) -> tuple[Transport, PlayedReceiver, Transport, PlayedReceiver]:
        """Return both ends of a new link, the caller's first."""
        receiver = PlayedReceiver()
        transport = await connect(self.path, receiver)
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
            await node.server.close()


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


async def test_an_end_is_told_once_to_both(node: Node) -> None:
    """After `close`, which may be called again, nothing is sent."""
    ours, received, theirs, arrived = await node.link()
    assert node.server.links == 1
    ours.close()
    ours.close()
    ours.send([b"late"])
    assert await received.lost() == "The link was closed."
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
    await node.server.close()
    assert await received.lost() == "closed by the other end"


async def test_the_next_node_accepts_those_that_wait(tmp_path: Path) -> None:
    """A listening socket outlives the node: a connection made while there is none becomes a link later."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "node"))
        listener.listen()
        for _ in range(2):
            received = PlayedReceiver()
            connecting = asyncio.create_task(connect(str(tmp_path / "node"), received))
            await asyncio.sleep(0.05)
            node = Node(str(tmp_path / "node"))
            await node.server.open(listener)
            (await connecting).send([b"asked"])
            _, arrived = await node.links.get()
            assert await arrived.next() == b"asked"
            await node.server.close()
            await received.lost()


async def test_a_wrong_token(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """It becomes no link; the log tells, without the token."""
    with pytest.raises(LinkRefused, match="token"):
        await connect(node.path, PlayedReceiver(), b"another token")
    assert [vars(record)["event"] for record in caplog.records] == ["node_link_refused"]
    assert "another" not in caplog.text
    assert node.links.empty()
    assert node.server.links == 0


async def test_a_stranger_on_the_nodes_path_learns_and_gets_nothing(tmp_path: Path) -> None:
    """A program of this user that took the socket's place has no token, and sees no proof of use to it."""
    async with serving(tmp_path / "stranger", token=b"") as stranger:
        received = PlayedReceiver()
        with pytest.raises(LinkRefused, match="does not prove"):
            await connect(stranger.path, received)
        _, arrived = await stranger.links.get()
        await arrived.lost()
        assert arrived.messages.empty()
        assert received.messages.empty()


async def test_another_user(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of another user's process is closed, whatever it sends; and the caller proves nothing."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConnectionError, match="another user"):
        await connect(node.path, PlayedReceiver())
    assert node.links.empty()


async def test_nobody_listens(tmp_path: Path) -> None:
    """An OSError tells it at once."""
    with pytest.raises(FileNotFoundError):
        await connect(str(tmp_path / "none"), PlayedReceiver())


async def test_a_node_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt ends; a listening socket accepts connections, also without a program behind it."""
    monkeypatch.setattr(link_opening, "_OPEN_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "node"))
        listener.listen()
        with pytest.raises(ConnectionError, match="no link within"):
            await connect(str(tmp_path / "node"), PlayedReceiver())
