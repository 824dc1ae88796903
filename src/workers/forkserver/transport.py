"""Messages with descriptors over a stream socket, used by both ends.

A message is a header, a body, and descriptors that travel with the header. Orders to the fork server are
pickled calls; what comes back is JSON, which the gateway may read from a process that forks hostile code.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER: Final = struct.Struct("<II")  # the bytes of the body, the number of descriptors
_MAX_BODY_BYTES: Final = 2**24
_MAX_DESCRIPTORS: Final = 64
_CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class DescriptorsLost(Exception):
    """A message came without its descriptors: this process has too many open. `body` is the message."""

    def __init__(self, body: bytes) -> None:
        super().__init__("a message came without its descriptors")
        self.body = body


def send(sock: socket.socket, body: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send a message. Blocks. Raises OSError if the other end is closed."""
    header = _HEADER.pack(len(body), len(descriptors))
    sent = socket.send_fds(sock, [header], descriptors)
    sock.sendall(header[sent:] + body)


def receive(sock: socket.socket, *, max_bytes: int = _MAX_BODY_BYTES) -> tuple[bytes, list[int]]:
    """Return the next message, whose body has at most `max_bytes` bytes. Blocks.

    Raises EOFError if the other end is closed, or sent what is no message; DescriptorsLost if the message
    was whole but for its descriptors.
    """
    header, descriptors, _, _ = socket.recv_fds(sock, _HEADER.size, _MAX_DESCRIPTORS, _CLOSE_ON_EXEC)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    try:
        header += _receive_exactly(sock, _HEADER.size - len(header))
        size, count = _HEADER.unpack(header)
        if size > max_bytes:
            raise EOFError("a message is too large")
        body = _receive_exactly(sock, size)
        if len(descriptors) != count:
            raise DescriptorsLost(body)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return body, list(descriptors)


def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    chunks = []
    while size:
        chunk = sock.recv(min(size, 2**16))
        if not chunk:
            raise EOFError("the other end is closed")
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
