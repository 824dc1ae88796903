"""Proves that ten thousand idle connections take little memory and delay no other client."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.figures import note
from tests.support.raw_clients import LIVE, SECONDS, light
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.conftest import Process, Start

MANY = 10_000
BYTES_PER_CONNECTION = 20 * 1024
"""The most memory that an idle connection may take."""
SPARE = 50
"""Descriptors that the gateway may open or close for other reasons."""
LAG_SECONDS = 5.0
"""The longest wait of another client while all connections open or close, on a busy machine."""


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Raise the limit of descriptors of this process; the gateway raises its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY + 1000:
        pytest.skip(f"the system allows {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (MANY + 1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(gateway: Process) -> int:
    """Return the bytes of anonymous memory of the process; its file pages depend on other processes."""
    for line in Path(f"/proc/{gateway.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such line")


def open_descriptors(gateway: Process) -> int:
    """Return the number of descriptors that the gateway has open."""
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def connect(gateway: Process, stack: ExitStack) -> list[socket.socket]:
    """Open the connections, one after the other."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    return [
        stack.enter_context(socket.create_connection((host, int(port)), timeout=SECONDS)) for _ in range(MANY)
    ]


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.timeout(480)
@pytest.mark.usefixtures("descriptors")
async def test_ten_thousand(start: Start) -> None:
    """All stay open and usable, and other clients are served; the memory is small and is used again.

    Measures the memory of the gateway and the longest latency of another client.
    """
    gateway = start(GATEWAY_IDLE_CONNECTION_SECONDS="150")
    memory_before, descriptors_before = memory(gateway), open_descriptors(gateway)
    most = []
    async with light(gateway.url) as other:
        for _ in range(3):
            with ExitStack() as stack:
                clients = await asyncio.to_thread(connect, gateway, stack)
                await until(
                    lambda: open_descriptors(gateway) >= descriptors_before + MANY - SPARE, within=120
                )
                await asyncio.sleep(2)  # the gateway checks all connections every second
                for client in clients[::1000]:
                    client.sendall(LIVE)
                    assert (await asyncio.to_thread(client.recv, 100)).startswith(b"HTTP/1.1 200 ")
                most.append(memory(gateway))
            await until(lambda: open_descriptors(gateway) < descriptors_before + SPARE, within=120)
    each = (most[0] - memory_before) / MANY
    note("ten thousand idle connections", bytes_of_each=each, slowest_of_others=other.slowest)
    assert each < BYTES_PER_CONNECTION
    # A leak grows each time; what the allocator keeps of a disturbed round does not.
    growth = min(later - earlier for earlier, later in pairwise(most))
    assert growth < (most[0] - memory_before) / 4, most
    assert other.slowest < LAG_SECONDS, most
    assert not gateway.events("connection_limit_reached")
    assert not gateway.events("connections_closed")
