"""Proves the transport of links between machines, both real ends of it: lanes, refusals, TLS and ends."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest
import trustme

from gateway.engines.members import Member
from gateway.engines.transports.grpc_client import GrpcConnector, TlsFiles
from gateway.engines.transports.grpc_server import Certificates, GrpcOptions, GrpcServer
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.engines.transports.protocol import Transport

OPTIONS = GrpcOptions(host="127.0.0.1", port=0, max_body_bytes=2**24)
LARGE = bytes(1_000_000)


class Recorder:
    """An owner of one end of a link, which notes all calls."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.lost: list[str] = []
        self.refused: list[str] = []

    def on_message(self, message: bytes) -> None:
        """Note a message."""
        self.messages.append(message)

    def on_refused(self, reason: str) -> None:
        """Note a refusal."""
        self.refused.append(reason)

    def on_lost(self, reason: str) -> None:
        """Note the end."""
        self.lost.append(reason)


class Node:
    """The node's end: the links that it has accepted, each of which begins with a greeting."""

    def __init__(self) -> None:
        self.links: list[tuple[Transport, Recorder]] = []

    def accept(self, transport: Transport) -> Recorder:
        """Accept a link."""
        self.links.append((transport, recorder := Recorder()))
        transport.send([b"hello"])
        return recorder


@asynccontextmanager
async def listening(options: GrpcOptions = OPTIONS) -> AsyncIterator[tuple[Node, str]]:
    """Run a server, and yield what it accepts and its address."""
    node = Node()
    server = GrpcServer(node.accept, options)
    address = await server.open()
    try:
        yield node, address
    finally:
        await server.close()


@asynccontextmanager
async def linked(
    address: str, *, token: str = "", tls: TlsFiles | None = None, tls_name: str = "", **options: int
) -> AsyncIterator[tuple[Transport, Recorder]]:
    """Open a link, and end it."""
    connector = GrpcConnector("a gateway", token=lambda: token, tls=tls, **options)
    recorder = Recorder()
    transport = await connector.connect(Member(address, address, tls_name), recorder)
    try:
        yield transport, recorder
    finally:
        transport.close()
        await until(lambda: len(recorder.lost) == 1)
        await connector.close()


async def test_messages_arrive_whole_and_in_order_both_ways() -> None:
    """Their parts are joined, and nothing is left unsent."""
    async with listening() as (node, address), linked(address) as (transport, gateway):
        await until(lambda: gateway.messages == [b"hello"])
        for number in range(200):
            transport.send([b"message ", b"%d" % number])
        server, recorder = node.links[0]
        await until(lambda: len(recorder.messages) == 200)
        assert recorder.messages == [b"message %d" % number for number in range(200)]
        assert transport.unsent_bytes == 0
        server.send([b"re", b"ply"])
        await until(lambda: gateway.messages == [b"hello", b"reply"])


async def test_large_messages_take_the_other_lane() -> None:
    """They arrive whole, in both directions, and small ones keep their order."""
    async with listening() as (node, address), linked(address) as (transport, gateway):
        await until(lambda: gateway.messages == [b"hello"])
        for number in range(3):
            transport.send([LARGE, b"%d" % number])
            transport.send([b"%d" % number])
        server, recorder = node.links[0]
        await until(lambda: len(recorder.messages) == 6)
        small = [message for message in recorder.messages if len(message) == 1]
        large = [message[-1:] for message in recorder.messages if len(message) > 1]
        assert small == large == [b"0", b"1", b"2"]
        server.send([LARGE])
        await until(lambda: gateway.messages[-1] == LARGE)


async def test_a_message_that_is_larger_than_any_answer_ends_the_link() -> None:
    """Before memory is taken for it."""
    async with listening() as (node, address), linked(address, max_answer_bytes=1) as (_, gateway):
        await until(lambda: gateway.messages == [b"hello"])
        server, _ = node.links[0]
        server.send([bytes(16 * 2**20)])
        await until(lambda: bool(gateway.lost))
        assert gateway.messages == [b"hello"]


async def test_a_wrong_token_is_refused_with_the_nodes_reason() -> None:
    """The right one is accepted."""
    options = replace(OPTIONS, token=b"t" * 40)
    async with listening(options) as (node, address):
        async with linked(address, token="u" * 40) as (_, gateway):
            await until(lambda: bool(gateway.lost))
            assert len(gateway.refused) == 1
            assert "token" in gateway.refused[0]
        assert not node.links
        async with linked(address, token="t" * 40) as (_, gateway):
            await until(lambda: gateway.messages == [b"hello"])


async def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node says what both speak."""
    monkeypatch.setattr("gateway.engines.wire.protocol.spoken", lambda: "7-9")
    async with listening() as (_, address), linked(address) as (_, gateway):
        await until(lambda: bool(gateway.refused))
        assert "7-9" in gateway.refused[0]


async def test_an_address_where_nothing_listens_is_lost_with_the_reason() -> None:
    """It is no refusal of a node."""
    async with listening() as (_, address):
        pass
    async with linked(address) as (_, gateway):
        await until(lambda: bool(gateway.lost))
        assert not gateway.refused
        assert gateway.lost[0]


async def test_the_end_of_the_node_is_the_end_of_the_link() -> None:
    """Both ends hear of it once, whichever ended it."""
    async with listening() as (node, address):
        async with linked(address) as (transport, gateway):
            await until(lambda: gateway.messages == [b"hello"])
            server, _ = node.links[0]
            server.close()
            await until(lambda: len(gateway.lost) == 1)
            transport.send([b"dropped"])
            transport.close()
        async with linked(address) as (_, gateway):
            await until(lambda: gateway.messages == [b"hello"])
        await until(lambda: len(node.links[1][1].lost) == 1)


async def test_both_sides_show_certificates(tmp_path: Path) -> None:
    """Addresses come from DNS, and the name in the certificate is that of the settings."""
    authority = trustme.CA()
    shown, client = authority.issue_cert("nodes.example"), authority.issue_cert("gateway.example")
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.cert_pem.write_to_path(str(files.authorities))
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))
    client.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificates = Certificates(
        certificate=b"".join(blob.bytes() for blob in shown.cert_chain_pems),
        key=shown.private_key_pem.bytes(),
        authorities=authority.cert_pem.bytes(),
    )
    async with listening(replace(OPTIONS, certificates=lambda: certificates)) as (node, address):
        async with linked(address, tls=files, tls_name="nodes.example") as (_, gateway):
            await until(lambda: gateway.messages == [b"hello"])
        async with linked(address, tls=TlsFiles(files.authorities), tls_name="nodes.example") as (_, gateway):
            await until(lambda: bool(gateway.lost))
        async with linked(address, tls=files, tls_name="other.example") as (_, gateway):
            await until(lambda: bool(gateway.lost))
        async with linked(address) as (_, gateway):
            await until(lambda: bool(gateway.lost))
        assert len(node.links) == 1


async def test_a_certificate_that_cannot_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    """The node's status tells it, and the next attempt reads it again."""
    connector = GrpcConnector("a gateway", token=lambda: "", tls=TlsFiles(tmp_path / "missing.pem"))
    with pytest.raises(FileNotFoundError):
        await connector.connect(Member("a:1", "a:1"), Recorder())
    await connector.close()


async def test_a_closed_link_leaves_no_connection() -> None:
    """Nor does it wait for the garbage collector, which may come much later.

    A node that hangs, or that a half-open connection leads to, never closes it.
    """

    def connections() -> int:
        found = psutil.Process().net_connections("tcp")
        open_ones = [one for one in found if one.status == psutil.CONN_ESTABLISHED]
        return sum(address.endswith(f":{one.raddr.port}") for one in open_ones)

    async with listening() as (node, address):
        gc.disable()
        try:
            async with linked(address) as (_, recorder):
                await until(lambda: recorder.messages == [b"hello"])
                await until(lambda: connections() == 2)
            await until(lambda: connections() == 0)
        finally:
            gc.enable()
        assert len(node.links) == 1
