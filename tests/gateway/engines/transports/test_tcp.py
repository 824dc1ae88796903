"""Proves the transport of links between machines, both real ends of it: lanes, refusals, TLS and ends."""

from __future__ import annotations

import gc
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trustme

from gateway.engines.members import Member
from gateway.engines.transports import link_transport
from gateway.engines.transports.link_server import LinkServer
from gateway.engines.transports.protocol import LinkRefused
from gateway.engines.transports.server_link import ServerLink
from gateway.engines.transports.tcp_client import TcpConnector, TlsPaths
from gateway.engines.transports.tcp_server import TcpOptions, TcpServer
from tests.gateway.engines.transports.played_receiver import PlayedReceiver
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.engines.transports.protocol import Transport

TOKEN = b"t" * 40
MIB = 2**20
OPTIONS = TcpOptions(host="127.0.0.1", port=0, token=TOKEN, max_body_bytes=64 * MIB)
LARGE = bytes(1_000_000)


class Node:
    """The node's end: the links that it has accepted."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.links: list[tuple[Transport, PlayedReceiver]] = []

    def accept(self, transport: Transport) -> PlayedReceiver:
        """Accept a link."""
        self.links.append((transport, receiver := PlayedReceiver()))
        return receiver


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Node]:
    """Run a server, and yield what it accepts."""
    node = Node("")
    server = TcpServer(node.accept, replace(OPTIONS, **options))
    node.address = await server.open()
    try:
        yield node
    finally:
        await server.close()


@asynccontextmanager
async def linked(
    node: Node, *, token: bytes = TOKEN, tls: TlsPaths | None = None, tls_name: str = "", **options: int
) -> AsyncIterator[tuple[Transport, PlayedReceiver]]:
    """Open a link, and end it."""
    connector = TcpConnector(token=lambda: token, tls=tls, **options)
    receiver = PlayedReceiver()
    transport = await connector.connect(Member(node.address, node.address, tls_name), receiver)
    try:
        yield transport, receiver
    finally:
        transport.close()
        await receiver.lost()
        assert len(receiver.ends) == 1


def connections(node: Node) -> int:
    """Return how many connections of this process lead to the node."""
    found = psutil.Process().net_connections("tcp")
    open_ones = [one for one in found if one.status == psutil.CONN_ESTABLISHED]
    return sum(node.address.endswith(f":{one.raddr.port}") for one in open_ones)


async def test_messages_arrive_whole_and_in_order_both_ways() -> None:
    """Their parts are joined, and nothing is left unsent."""
    async with listening() as node, linked(node) as (transport, gateway):
        server, receiver = node.links[0]
        for number in range(200):
            transport.send([b"message ", memoryview(b"%d" % number)])
            server.send([b"reply ", b"%d" % number])
        for number in range(200):
            assert await receiver.next() == b"message %d" % number
            assert await gateway.next() == b"reply %d" % number
        assert transport.unsent_bytes == server.unsent_bytes == 0


async def test_large_messages_take_the_other_connection() -> None:
    """They arrive whole, in both directions, and small ones keep their order."""
    async with listening() as node, linked(node) as (transport, gateway):
        await until(lambda: connections(node) == 2)
        server, receiver = node.links[0]
        for number in range(3):
            transport.send([LARGE, b"%d" % number])
            transport.send([b"%d" % number])
        messages = [await receiver.next() for _ in range(6)]
        small = [message for message in messages if len(message) == 1]
        large = [message[-1:] for message in messages if len(message) > 1]
        assert small == large == [b"0", b"1", b"2"]
        server.send([LARGE])
        assert await gateway.next() == LARGE


async def test_a_large_message_may_follow_the_verdict_at_once() -> None:
    """An answer that becomes ready then takes the new connection before the gateway knows that it has one."""
    async with listening() as node, linked(node) as (_, gateway):
        await until(lambda: bool(node.links))
        server, _ = node.links[0]
        assert isinstance(server, ServerLink)
        await until(lambda: server.has_large, interval=0)  # one turn of the loop: both go out together
        server.send([LARGE])
        server.send([LARGE, b"2"])
        assert await gateway.next() == LARGE
        assert await gateway.next() == LARGE + b"2"
        assert not gateway.ends


async def test_a_message_that_is_larger_than_any_answer_ends_the_link() -> None:
    """Before memory is taken for it."""
    async with listening() as node, linked(node, max_answer_bytes=1) as (_, gateway):
        node.links[0][0].send([bytes(16 * MIB)])
        assert "are allowed" in await gateway.lost()
        assert gateway.messages.empty()


@pytest.mark.parametrize("token", [b"u" * 40, b"t" * 39, b"T" * 40, b""])
async def test_a_wrong_token_is_refused_with_the_nodes_reason(token: bytes) -> None:
    """The right one is accepted."""
    async with listening() as node:
        with pytest.raises(LinkRefused, match="This node wants the token"):
            async with linked(node, token=token):
                pass
        assert not node.links
        async with linked(node):
            assert len(node.links) == 1


async def test_a_node_without_the_token_is_refused() -> None:
    """A gateway sends no request to a program that took a node's address."""
    async with listening(token=b"") as node:
        with pytest.raises(LinkRefused, match="does not prove"):
            async with linked(node):
                pass
        _, receiver = node.links[0]
        await receiver.lost()
        assert receiver.messages.empty()


async def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway says what both speak."""
    monkeypatch.setattr("gateway.engines.wire.protocol.spoken", lambda: "7-9")
    async with listening() as node:
        with pytest.raises(LinkRefused, match="7-9"):
            async with linked(node):
                pass


async def test_an_address_where_nothing_listens() -> None:
    """It is no refusal of a node."""
    async with listening() as node:
        pass
    with pytest.raises(ConnectionRefusedError):
        async with linked(node):
            pass


async def test_the_end_of_the_node_is_the_end_of_the_link() -> None:
    """Both ends hear of it once, whichever ended it; what was sent before arrives."""
    async with listening() as node:
        async with linked(node) as (transport, gateway):
            server, receiver = node.links[0]
            server.send([b"the last word"])
            server.close()
            assert await gateway.next() == b"the last word"
            await gateway.lost()
            await receiver.lost()
            transport.send([b"dropped"])
            assert transport.unsent_bytes == server.unsent_bytes == 0
        async with linked(node):
            pass
        await node.links[1][1].lost()


async def test_both_sides_show_certificates(tmp_path: Path) -> None:
    """Addresses come from DNS, and the name in the certificate is that of the settings."""
    authority = trustme.CA()
    shown, client = authority.issue_cert("nodes.example"), authority.issue_cert("gateway.example")
    paths = TlsPaths(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.cert_pem.write_to_path(str(paths.authorities))
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))
    client.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    async with listening(context=context) as node:
        async with linked(node, tls=paths, tls_name="nodes.example") as (transport, gateway):
            await until(lambda: connections(node) == 2)
            transport.send([LARGE])
            assert await node.links[0][1].next() == LARGE
            node.links[0][0].send([b"last"])
            node.links[0][0].close()
            assert await gateway.next() == b"last"
        for other, name in ((TlsPaths(paths.authorities), "nodes.example"), (paths, "other.example")):
            with pytest.raises(OSError):  # noqa: PT011 - the text is OpenSSL's, which differs by version
                async with linked(node, tls=other, tls_name=name):
                    pass
        with pytest.raises(ConnectionError):
            async with linked(node):
                pass
        assert len(node.links) == 1


async def test_a_certificate_that_cannot_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    """The node's status tells it, and the next attempt reads it again."""
    with pytest.raises(FileNotFoundError):
        async with linked(Node("127.0.0.1:1"), tls=TlsPaths(tmp_path / "missing.pem")):
            pass


async def test_a_closed_link_leaves_no_connection() -> None:
    """Nor does it wait for the garbage collector, which may come much later.

    A node that hangs, or that a half-open connection leads to, never closes it.
    """
    async with listening() as node:
        gc.disable()
        try:
            async with linked(node):
                await until(lambda: connections(node) == 2)
            await until(lambda: connections(node) == 0)
            transport = (await linked(node).__aenter__())[0]
            transport.close()  # while it opens the second connection
            await until(lambda: connections(node) == 0)
        finally:
            gc.enable()
        await until(lambda: len(node.links) == 2 and all(end.ends for _, end in node.links))


async def test_an_address_that_is_taken_is_an_error() -> None:
    """Else two nodes would share a port, and a gateway would find now one, now the other."""
    async with listening() as node:
        with pytest.raises(OSError, match="in use"):
            async with listening(port=int(node.address.rpartition(":")[2])):
                pass


async def test_a_link_does_without_a_second_connection_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large messages take the first one until then."""
    monkeypatch.setattr(link_transport, "_RETRY_SECONDS", 0.05)
    refusing = [True]
    monkeypatch.setattr(
        LinkServer,
        "_refusal",
        lambda _, __, opening: "not now" if refusing[0] and opening.lane == "large" else "",
    )
    async with listening() as node, linked(node) as (transport, gateway):
        server, receiver = node.links[0]
        for sent in (transport, server):
            sent.send([LARGE])
        assert await receiver.next() == await gateway.next() == LARGE
        assert connections(node) <= 2
        refusing[0] = False
        assert isinstance(server, ServerLink)
        link = server
        await until(lambda: link.has_large)
        transport.send([LARGE])
        assert await receiver.next() == LARGE
