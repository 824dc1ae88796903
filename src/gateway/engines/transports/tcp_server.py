"""Accepts links of gateways on other machines, over TCP, with TLS if there is a context for it."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.engines.transports import tcp_socket
from gateway.engines.transports.link_server import LinkServer
from gateway.engines.transports.tls_acceptor import TlsAcceptor
from gateway.engines.wire.messages import largest_message

if TYPE_CHECKING:
    import ssl

    from gateway.engines.transports.link_server import Accept
    from gateway.engines.transports.message_stream import MessageStream

_BACKLOG: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpOptions:
    """How a node listens. Both ends of a link prove that they have `token`, unless it is empty.

    No message may be larger than a body of `max_body_bytes`, and what a message has beside it. Without
    `context` there is no TLS.
    """

    host: str
    port: int
    token: bytes = field(default=b"", repr=False)
    context: ssl.SSLContext | None = None
    max_body_bytes: int


class TcpServer:
    """A server that accepts links on one address."""

    def __init__(self, accept: Accept, options: TcpOptions) -> None:
        """`accept` returns the receiver of a new link."""
        self._options = options
        self._links = LinkServer(
            accept, token=options.token, max_bytes=largest_message(options.max_body_bytes)
        )
        self._server: asyncio.Server | None = None
        self._acceptors: list[TlsAcceptor] = []

    @property
    def links(self) -> int:
        """The number of links that are open."""
        return self._links.links

    async def open(self) -> str:
        """Listen, and return the address. Raise OSError."""
        options = self._options
        self._server = await asyncio.get_running_loop().create_server(
            self._create_stream,
            options.host,
            options.port,
            backlog=_BACKLOG,
            start_serving=options.context is None,
        )
        if options.context is not None:
            self._acceptors = [
                TlsAcceptor(_listen(bound.fileno()), options.context, self._create_stream)
                for bound in self._server.sockets
            ]
        host = f"[{options.host}]" if ":" in options.host else options.host
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def end_links(self, reason: str) -> None:
        """End all links; their gateways may open new ones."""
        self._links.end_links(reason)

    async def close(self) -> None:
        """Accept no more links, and end those that are open."""
        if self._server is not None:
            self._server.close()
        for acceptor in self._acceptors:
            await acceptor.close()
        await self._links.close()

    def _create_stream(self) -> MessageStream:
        return self._links.create_stream(tcp_socket.watch_peer)


def _listen(bound: int) -> socket.socket:
    """Return a listening socket of its own for a bound one. Raise OSError."""
    listener = socket.socket(fileno=os.dup(bound))
    listener.setblocking(False)
    listener.listen(_BACKLOG)
    return listener
