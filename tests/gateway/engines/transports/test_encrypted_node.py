"""What a node with TLS makes of connections that are not encrypted yet."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from typing import TYPE_CHECKING

import psutil
import trustme

from gateway.engines.transports import tls_acceptor
from tests.gateway.engines.transports.serving import TOKEN, Serving, burst, ended, serving
from tests.support.node_client import RawLane, open_raw, shake_hands
from tests.support.waiting import until

if TYPE_CHECKING:
    import pytest


async def test_what_was_connecting_when_all_links_ended_becomes_none() -> None:
    """Its certificate may be of the authority that was removed."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("nodes.example").configure_cert(server)
    authority.configure_trust(client)
    async with serving(context=server) as node:
        host, _, port = node.address.rpartition(":")
        late, proving = socket.create_connection((host, int(port))), await open_tls(node, client)
        challenge = await proving.read()
        await until(lambda: accepted(node) == 2)
        node.server.end_links("an authority was removed")
        assert await ended(proving) == b""
        assert b"nonce" in challenge
        shaken = await asyncio.open_connection(sock=late, ssl=client, server_hostname="nodes.example")
        assert await ended(RawLane(*shaken)) == b""
        again = await open_tls(node, client)
        await shake_hands(again, token=TOKEN)
        again.close()


async def test_silent_connections_do_not_keep_gateways_out_of_an_encrypted_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that do not begin to encrypt are ended first, of the host that has the most of them."""
    monkeypatch.setattr(tls_acceptor, "MAX_UNPROVEN", 3)
    monkeypatch.setattr(tls_acceptor, "_HANDSHAKE_SECONDS", 1000)
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("nodes.example").configure_cert(server)
    authority.configure_trust(client)
    async with serving(context=server) as node:
        host, _, port = node.address.rpartition(":")
        silent = socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0))
        opened = await burst(node, 20)
        for raw in opened[:-3]:
            await ended(raw)
        shaken = await asyncio.open_connection(sock=silent, ssl=client, server_hostname="nodes.example")
        await shake_hands(gateway := RawLane(*shaken), token=TOKEN)
        assert len(node.links) == 1
        for raw in (gateway, *opened):
            raw.close()


async def test_an_encrypted_node_accepts_again_once_there_are_descriptors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says why it did not."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("nodes.example").configure_cert(server)
    authority.configure_trust(client)
    async with serving(context=server) as node:
        host, _, port = node.address.rpartition(":")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        early = socket.create_connection((host, int(port)))
        free = os.dup(early.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            await until(lambda: "No connection can be accepted" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        shaken = await asyncio.open_connection(sock=early, ssl=client, server_hostname="nodes.example")
        await shake_hands(gateway := RawLane(*shaken), token=TOKEN)
        gateway.close()


async def open_tls(node: Serving, context: ssl.SSLContext) -> RawLane:
    """Return an encrypted connection."""
    return await open_raw(node.address, tls=context, tls_name="nodes.example")


def accepted(node: Serving) -> int:
    """Return how many connections the node has accepted."""
    port = int(node.address.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return sum(one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in found)
