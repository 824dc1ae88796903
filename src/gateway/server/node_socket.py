"""The socket over which gateway processes reach the process that holds the models."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.engines.transports.unix_address import UnixAddress
from gateway.system.tempdir import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN_BYTES: Final = 32
_BACKLOG: Final = 64


@dataclass(frozen=True, slots=True)
class NodeSocket:
    """A listening socket, inherited by each process that holds the models in turn, and the way to it."""

    listener: socket.socket
    address: UnixAddress


@contextmanager
def node_socket() -> Iterator[NodeSocket]:
    """Listen until the context ends. Raise OSError if that cannot be.

    The socket has no name: what knows one could put a socket of its own there, and pass on what it reads. The
    way to it is a descriptor, which forked processes inherit, and which no program that they start does.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        descriptor = _bind(listener)
        try:
            listener.listen(_BACKLOG)
            yield NodeSocket(
                listener, UnixAddress(f"/proc/self/fd/{descriptor}", secrets.token_bytes(_TOKEN_BYTES))
            )
        finally:
            os.close(descriptor)


def _bind(listener: socket.socket) -> int:
    """Bind the socket in a private folder, which is removed, and return a descriptor of its place.

    The path goes through a descriptor of the folder: that of a folder for temporary files may be longer than
    that of a socket may be.
    """
    with private_folder() as folder:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{parent}/models"
            listener.bind(path)
            return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        finally:
            os.close(parent)
