"""A server of links that the tests open connections to, bare of the gateway's own code."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from gateway.engines.transports.tcp_server import TcpOptions, TcpServer
from tests.gateway.engines.transports.played_receiver import PlayedReceiver
from tests.support.node_client import LaneRefused, RawLane, open_raw, shake_hands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.engines.transports.protocol import Transport

MIB = 2**20
TOKEN = "right" * 10
LINK = token_hex(16)


class Serving:
    """A server, its address, and the links that it has accepted."""

    def __init__(self, **options: Any) -> None:
        given: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": 0,
            "max_body_bytes": 64 * MIB,
            "token": TOKEN.encode(),
        }
        self.server = TcpServer(self._accept, TcpOptions(**given | options))
        self.address = ""
        self.links: list[tuple[Transport, PlayedReceiver]] = []

    def _accept(self, transport: Transport) -> PlayedReceiver:
        self.links.append((transport, PlayedReceiver()))
        return self.links[-1][1]

    async def open_lane(self, lane: str = "small", *, link: str = LINK, **more: Any) -> RawLane:
        """Return a connection that was accepted. Raise LaneRefused."""
        raw = await open_raw(self.address)
        try:
            await shake_hands(raw, token=more.pop("token", TOKEN), link=link, lane=lane, **more)
        except LaneRefused:
            raw.close()
            raise
        return raw


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Serving]:
    """Run a server."""
    found = Serving(**options)
    found.address = await found.server.open()
    try:
        yield found
    finally:
        await found.server.close()


async def ended(raw: RawLane) -> bytes:
    """Return what still comes on a connection until the node ends it, which it must."""
    came = b""
    with suppress(asyncio.IncompleteReadError, OSError):
        async with asyncio.timeout(60):
            while True:
                came += await raw.read()
    raw.close()
    return came


async def burst(node: Serving, count: int) -> list[RawLane]:
    """Return connections that were all made before the node accepts the first of them."""
    host, _, port = node.address.rpartition(":")
    made = [socket.create_connection((host, int(port)), timeout=60) for _ in range(count)]
    return [RawLane(*await asyncio.open_connection(sock=each)) for each in made]
