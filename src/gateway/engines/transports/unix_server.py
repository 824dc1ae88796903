"""The node's end of links over a Unix socket."""

from __future__ import annotations

import asyncio
import hmac
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.engines.transports.unix_stream import MAX_MESSAGE_BYTES, UnixStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.engines.transports.protocol import Receiver, Transport

    Accept = Callable[[Transport], Receiver]

logger = logging.getLogger(__name__)

_TOKEN_SECONDS: Final = 10.0
_MAX_TOKEN_BYTES: Final = 256
_MAX_UNPROVEN: Final = 64  # connections that have not sent the token yet
_BACKLOG: Final = 64


class UnixServer:
    """A server that accepts links on a listening socket, from processes of this user that know the token."""

    def __init__(self, accept: Accept, *, token: bytes) -> None:
        """`accept` returns the receiver of a new link, once the other end has sent the token."""
        self._accept = accept
        self._token = token
        self._streams: set[UnixStream] = set()
        self._unproven: set[UnixStream] = set()
        self._server: asyncio.Server | None = None

    @property
    def links(self) -> int:
        """The number of links that are open."""
        return len(self._streams) - len(self._unproven)

    async def open(self, listener: socket.socket) -> None:
        """Accept links on the socket, which stays the caller's, and so does its path."""
        create = partial(
            asyncio.get_running_loop().create_unix_server,
            self._create,
            sock=listener.dup(),
            backlog=_BACKLOG,
        )
        if sys.version_info >= (3, 13):  # by default the path ends with the server, which the next one needs
            self._server = await create(cleanup_socket=False)
        else:
            self._server = await create()

    def close(self) -> None:
        """Accept no more links, and end those that are open."""
        if self._server is not None:
            self._server.close()
        for stream in list(self._streams):
            stream.close("the node ends")

    def _create(self) -> UnixStream:
        caller = _UnprovenCaller(self._admit)
        caller.stream = stream = UnixStream(caller, max_bytes=_MAX_TOKEN_BYTES, on_end=self._forget)
        self._streams.add(stream)
        self._unproven.add(stream)
        if len(self._unproven) > _MAX_UNPROVEN:
            asyncio.get_running_loop().call_soon(stream.close, "too many connections without a token")
        return stream

    def _admit(self, stream: UnixStream, token: bytes) -> None:
        if not hmac.compare_digest(token, self._token):
            stream.close("a wrong token")
            return
        self._unproven.discard(stream)
        stream.max_bytes = MAX_MESSAGE_BYTES
        stream.receiver = self._accept(stream)

    def _forget(self, stream: UnixStream) -> None:
        self._streams.discard(stream)
        self._unproven.discard(stream)


class _UnprovenCaller:
    """The receiver of a connection until its first message, which must be the token and come in time."""

    stream: UnixStream

    def __init__(self, admit: Callable[[UnixStream, bytes], None]) -> None:
        self._admit = admit
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_TOKEN_SECONDS, self._refuse)

    def on_message(self, message: bytes) -> None:
        """Pass the token on."""
        self._timer.cancel()
        self._admit(self.stream, message)

    def on_lost(self, reason: str) -> None:
        """Log a connection that never became a link."""
        self._timer.cancel()
        extra = {"event": "node_link_refused", "reason": reason}
        logger.warning("A connection to the node's socket was refused or given up: %s", reason, extra=extra)

    def _refuse(self) -> None:
        self.stream.close("no token in time")
