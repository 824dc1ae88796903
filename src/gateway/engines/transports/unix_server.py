"""Accepts links of the gateway processes of this machine, over a Unix socket."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.engines.transports.link_server import LinkServer
from gateway.engines.transports.peer import is_same_user
from gateway.engines.wire.messages import largest_message

if TYPE_CHECKING:
    import socket

    from gateway.engines.transports.link_server import Accept

_BACKLOG: Final = 64


class UnixServer:
    """A server that accepts links on a listening socket, from processes of this user that have the token."""

    def __init__(self, accept: Accept, *, token: bytes, max_body_bytes: int) -> None:
        """`accept` returns the receiver of a new link.

        No message may be larger than a body of `max_body_bytes`, and what a message has beside it.
        """
        self._links = LinkServer(accept, token=token, max_bytes=largest_message(max_body_bytes))
        self._server: asyncio.Server | None = None

    @property
    def links(self) -> int:
        """The number of links that are open."""
        return self._links.links

    async def open(self, listener: socket.socket) -> None:
        """Accept links on the socket, which stays the caller's, and so does its path."""
        create = partial(
            asyncio.get_running_loop().create_unix_server,
            lambda: self._links.create_stream(_require_same_user),
            sock=listener.dup(),
            backlog=_BACKLOG,
        )
        if sys.version_info >= (3, 13):  # by default the path ends with the server, which the next one needs
            self._server = await create(cleanup_socket=False)
        else:
            self._server = await create()

    async def close(self) -> None:
        """Accept no more links, and end those that are open."""
        if self._server is not None:
            self._server.close()
        await self._links.close()


def _require_same_user(transport: asyncio.BaseTransport) -> None:
    if not is_same_user(transport):
        raise ConnectionError("the other end is another user's")
