"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_CREDENTIALS: Final = struct.Struct("iII")  # process, user, group


def is_same_user(transport: asyncio.BaseTransport) -> bool:
    """Return whether the process at the other end is this process' user, as the kernel noted it (Linux)."""
    own: socket.socket = transport.get_extra_info("socket")
    _, user, _ = _CREDENTIALS.unpack(own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(user == os.geteuid())
