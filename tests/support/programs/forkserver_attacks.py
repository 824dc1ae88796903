"""Attack a fork server and its young processes as another process of the same user; print what succeeded.

A program, which the tests run as an ordinary user: root may look into every process.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.process.descriptors import wait_readable
from workers.process.forkserver import ForkServer
from workers.process.order import PickledOrder

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.process.forkserver import ForkedProcess

_BATCH = 250  # descriptors in one message; the kernel takes 253
_LIMIT = 2_048


def main() -> None:
    """Run both attacks."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_LIMIT, hard), min(_LIMIT, hard)))
    server = ForkServer(preload="none")
    try:
        print(json.dumps({"looked into": look_into(server), "starts": starts_beside_a_flood(server)}))
    finally:
        server.close()


def look_into(server: ForkServer) -> list[str]:
    """Return what can be opened of the fork server, and of a process that has not prepared itself."""
    young = start(server, signal.pause).pid
    found = []
    for name, pid in (("fork server", server.pid), ("young process", young)):
        for path in ("mem", "environ", "maps", "fd/0", "fd/1"):
            with suppress(OSError):
                os.close(os.open(f"/proc/{pid}/{path}", os.O_RDONLY))
                found.append(f"{path} of the {name}")
    os.kill(young, signal.SIGKILL)
    return found


def starts_beside_a_flood(server: ForkServer) -> list[str]:
    """Return the outcome of starts while a process has as many descriptors on their way as it may."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file:
        start(server, flood, output=writer)
        os.close(writer)
        file.read(1)
        outcomes = []
        for _ in range(3):
            try:
                process = start(server, os.getpid)
                outcomes.append("started" if wait_readable(process.sentinel, 60) else "hangs")
            except OSError as error:
                outcomes.append(str(error))
    return outcomes


def flood() -> None:
    """Send descriptors to this process itself until the kernel refuses more, and then wait."""
    ends = [socket.socketpair() for _ in range(50)]
    for near, _ in ends:
        near.setblocking(False)
        with suppress(OSError):
            while True:
                socket.send_fds(near, [b"x"], [0] * _BATCH)
    os.write(1, b"x")
    signal.pause()


def start(server: ForkServer, function: Callable[[], object], *, output: int = 2) -> ForkedProcess:
    """Start a process."""
    return server.start(PickledOrder.of(function), output)


if __name__ == "__main__":
    # The processes that are started import it by its name.
    importlib.import_module("forkserver_attacks").main()
