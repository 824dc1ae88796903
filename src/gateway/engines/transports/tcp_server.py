"""Accepts links of gateways on other machines, over TCP, with TLS if there is a context for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.engines.transports import tcp_socket
from gateway.engines.transports.link_server import LinkServer
from gateway.engines.wire.messages import largest_message

if TYPE_CHECKING:
    import ssl

    from gateway.engines.transports.link_server import Accept

_BACKLOG: Final = 512
_HANDSHAKE_SECONDS: Final = 5.0
_CLOSING_SECONDS: Final = 1.0


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

    @property
    def links(self) -> int:
        """The number of links that are open."""
        return self._links.links

    async def open(self) -> str:
        """Listen, and return the address. Raise OSError."""
        options = self._options
        has_tls = options.context is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self._links.create_stream(tcp_socket.watch_peer),
            options.host,
            options.port,
            ssl=options.context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if has_tls else None,
            ssl_shutdown_timeout=_CLOSING_SECONDS if has_tls else None,
        )
        host = f"[{options.host}]" if ":" in options.host else options.host
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def end_links(self, reason: str) -> None:
        """End all links; their gateways may open new ones."""
        self._links.end_links(reason)

    async def close(self) -> None:
        """Accept no more links, and end those that are open."""
        if self._server is not None:
            self._server.close()
        await self._links.close()
