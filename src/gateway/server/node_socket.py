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
    """Listen in a private folder until the context ends. Raise OSError if that cannot be.

    Its path goes through a descriptor of the folder, which forked processes inherit: the path of a folder for
    temporary files may be longer than that of a socket may be.
    """
    with private_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{descriptor}/models"
            listener.bind(path)
            listener.listen(_BACKLOG)
            yield NodeSocket(listener, UnixAddress(path, secrets.token_bytes(_TOKEN_BYTES)))
        finally:
            os.close(descriptor)
