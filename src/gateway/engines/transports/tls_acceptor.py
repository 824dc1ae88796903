"""Accepts connections and encrypts them: a bounded number at a time, and no host keeps others out."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.engines.transports.fairness import MAX_UNPROVEN, first_to_end

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gateway.engines.transports.message_stream import MessageStream

logger = logging.getLogger(__name__)

_HANDSHAKE_SECONDS: Final = 5.0
_CLOSING_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0  # after a failure to accept: no descriptor is left, for example


class TlsAcceptor:
    """The connections of one listening socket, until their handshakes are complete."""

    def __init__(
        self, listener: socket.socket, context: ssl.SSLContext, create: Callable[[], MessageStream]
    ) -> None:
        """`create` returns the protocol of a connection. The socket is closed with this object."""
        self._listener = listener
        self._context = context
        self._create = create
        self._waiting: dict[socket.socket, str] = {}  # the host of each, the oldest first
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept_forever(), name="accept links")

    async def close(self) -> None:
        """Accept nothing more, and end what is not encrypted yet."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listener.close()
        for accepted in list(self._waiting):
            self._end(accepted)
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    async def _accept_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(self._listener)
            except ConnectionError:  # the caller is gone already
                continue
            except OSError as error:
                extra = {"event": "node_link_failed", "reason": str(error)}
                logger.error("No connection can be accepted: %s", error, extra=extra)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._waiting[accepted] = str(address[0])
            task = asyncio.create_task(self._encrypt(accepted), name="TLS handshake of a link")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
            if len(self._waiting) > MAX_UNPROVEN:
                self._end(first_to_end(self._waiting))

    async def _encrypt(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._create,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_CLOSING_SECONDS,
            )
        except OSError:
            pass  # a caller that does not get on, which is most of the network's noise
        finally:
            self._waiting.pop(accepted, None)

    def _end(self, accepted: socket.socket) -> None:
        """End a connection as if its caller did, which each loop takes at any moment of a handshake."""
        del self._waiting[accepted]
        with suppress(OSError):
            accepted.shutdown(socket.SHUT_RDWR)
