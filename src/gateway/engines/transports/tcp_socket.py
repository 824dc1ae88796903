"""Options of TCP sockets by which the system ends a connection whose other end is gone without a word."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_IDLE_SECONDS: Final = 10
_INTERVAL_SECONDS: Final = 5
_PROBES: Final = 3
_UNACKNOWLEDGED_SECONDS: Final = 20
_SYSTEM_OPTIONS: Final = (  # of which not every system has all
    ("TCP_KEEPIDLE", _IDLE_SECONDS),
    ("TCP_KEEPINTVL", _INTERVAL_SECONDS),
    ("TCP_KEEPCNT", _PROBES),
    ("TCP_USER_TIMEOUT", 1000 * _UNACKNOWLEDGED_SECONDS),
)


def watch_peer(transport: asyncio.BaseTransport) -> None:
    """Have a connection end within half a minute of its peer's, if no word of that arrives."""
    own: socket.socket | None = transport.get_extra_info("socket")
    if own is None:
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SYSTEM_OPTIONS:
        if (option := getattr(socket, name, None)) is not None:
            own.setsockopt(socket.IPPROTO_TCP, option, value)
