"""Opens links to nodes of other machines, over TCP, with TLS if it is asked for."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.concurrency.threads import in_thread
from gateway.engines.transports import tcp_socket
from gateway.engines.transports.link_opening import open_lane
from gateway.engines.transports.link_transport import LinkTransport
from gateway.engines.wire.handshake import new_link
from gateway.engines.wire.messages import largest_message
from gateway.settings.fleet import split_address
from workers.protocol.bounds import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from gateway.engines.members import Member
    from gateway.engines.transports.message_stream import MessageStream
    from gateway.engines.transports.protocol import Receiver, Transport


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """PEM files: the authorities of the nodes, and the certificate and key that nodes are shown, if any."""

    authorities: Path
    certificate: Path | None = None
    key: Path | None = None

    def load(self) -> ssl.SSLContext:
        """Return a context with what the files have. Raise OSError, of which ssl.SSLError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self.authorities)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key, password="")  # a password is never asked for
        return context


class TcpConnector:
    """A connector that opens links over TCP. Used from one event loop.

    A node that sends a message that is larger than an answer may be loses its link. Token and files are read
    for each link, so that new ones are used without a restart.
    """

    def __init__(
        self,
        *,
        token: Callable[[], bytes],
        tls: TlsPaths | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """`token` returns what both ends prove to have; empty: nothing. It may raise OSError."""
        self._token = token
        self._tls = tls
        self._max_bytes = largest_message(max_answer_bytes)

    async def connect(self, member: Member, receiver: Receiver) -> Transport:
        """Return a transport to a node that has accepted it. Raise LinkRefused, or another OSError."""
        context = None if self._tls is None else await in_thread(self._tls.load)
        token = await in_thread(self._token)
        open_it = partial(open_lane, partial(_connect, member, context), link=new_link(), token=token)
        small = await open_it(lane="small")
        return LinkTransport(
            small, receiver, max_bytes=self._max_bytes, open_large=partial(open_it, lane="large")
        )


async def _connect(
    member: Member, context: ssl.SSLContext | None, create: Callable[[], MessageStream]
) -> tuple[Any, MessageStream]:
    host, port = split_address(member.address)
    name = None if context is None else member.tls_name or host
    loop = asyncio.get_running_loop()
    transport, stream = await loop.create_connection(create, host, port, ssl=context, server_hostname=name)
    tcp_socket.watch_peer(transport)
    return transport, stream
