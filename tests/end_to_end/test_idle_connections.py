"""Proves that ten thousand connections that ask for nothing cost little, and delay nobody."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.figures import note
from tests.support.raw_clients import LIVE, SECONDS, light
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.end_to_end.conftest import Process

MANY = 10_000
EACH = 20 * 1024
"""Bytes of memory that an idle connection may cost."""
SPARE = 50
"""Descriptors for other things, which come and go."""
LAG_SECONDS = 5.0
"""What another client may wait while they come and go, all at once, on a machine that is busy too."""


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many for this process as it needs; the gateway sees to its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY + 1000:
        pytest.skip(f"the system allows {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (MANY + 1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(gateway: Process) -> int:
    """Bytes of its process that are of no file: of a file's, more or fewer count as others use it too."""
    for line in Path(f"/proc/{gateway.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such line")


def open_to(gateway: Process) -> int:
    """How many descriptors it has."""
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def connect(gateway: Process, stack: ExitStack) -> list[socket.socket]:
    """Very many connections, one after the other."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    return [
        stack.enter_context(socket.create_connection((host, int(port)), timeout=SECONDS)) for _ in range(MANY)
    ]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("descriptors")
async def test_ten_thousand(start: Callable[..., Process]) -> None:
    """All are held, each still serves, the loop turns on; their memory is small, and used again."""
    gateway = start(GATEWAY_IDLE_CONNECTION_SECONDS="150")
    before, had = memory(gateway), open_to(gateway)
    most = []
    async with light(gateway.url) as other:
        for _ in range(2):
            with ExitStack() as stack:
                clients = await asyncio.to_thread(connect, gateway, stack)
                await until(lambda: open_to(gateway) >= had + MANY - SPARE, within=120)
                await asyncio.sleep(2)  # some looks at all of them
                for client in clients[::1000]:
                    client.sendall(LIVE)
                    assert (await asyncio.to_thread(client.recv, 100)).startswith(b"HTTP/1.1 200 ")
                most.append(memory(gateway))
            await until(lambda: open_to(gateway) < had + SPARE, within=120)
    each = (most[0] - before) / MANY
    note("ten thousand idle connections", bytes_of_each=each, slowest_of_others=other.slowest)
    assert each < EACH
    assert most[1] - most[0] < (most[0] - before) / 4
    assert other.slowest < LAG_SECONDS, most
    assert not [line for line in gateway.log() if "connections" in line]
