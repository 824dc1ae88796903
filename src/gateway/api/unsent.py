"""How much of a connection's responses its client has not read yet."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Final

from gateway.api.tls_connection import TlsConnection

if TYPE_CHECKING:
    import asyncio

_ACKNOWLEDGED: Final = struct.Struct("@120xQ")  # tcpi_bytes_acked, in Linux' struct tcp_info since 4.1


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes of responses that the client has not read, or 0 if the kernel's buffer holds them all.

    The bytes in that buffer count too: the kernel accepts more only if a third of the buffer is free, which
    can take minutes with a slow client. With TLS they always count.
    """
    tls = transport.get_extra_info("ssl_object")
    if isinstance(tls, TlsConnection):
        return _unsent_of_tls(transport, tls)
    if not (unsent := transport.get_write_buffer_size()):
        return 0
    return unsent + _queued(transport)


def buffered_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes of responses that this process holds because the kernel does not take them."""
    tls = transport.get_extra_info("ssl_object")
    if isinstance(tls, TlsConnection):
        return max(0, _unsent_of_tls(transport, tls) - _queued(transport))
    return transport.get_write_buffer_size()


def _unsent_of_tls(transport: asyncio.Transport, tls: TlsConnection) -> int:
    """Return what was encrypted and is not acknowledged.

    A transport of TLS does not know what the transport below it holds, which is most of a large response.
    """
    if tls.sent_bytes == tls.settled_bytes:
        return 0
    acknowledged = _acknowledged(transport)
    if acknowledged is None:
        return transport.get_write_buffer_size() + _queued(transport)
    if (unsent := tls.sent_bytes - acknowledged) <= 0:
        tls.settled_bytes = tls.sent_bytes  # until more is sent
        return 0
    return unsent


def _acknowledged(transport: asyncio.Transport) -> int | None:
    """Return the bytes that the client's system has received; None if this system does not tell."""
    if sys.platform != "linux":
        return None
    try:
        info = transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size
        )
    except OSError:
        return None
    if len(info) < _ACKNOWLEDGED.size:
        return None
    (count,) = _ACKNOWLEDGED.unpack(info)
    return int(count)


def _queued(transport: asyncio.Transport) -> int:
    """Return the bytes in the kernel's buffer that the client's system has not received."""
    try:
        queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(queued, sys.byteorder)
