"""The bundled load driver: asyncio on plain sockets, for machines without wrk and for large bodies."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNK = 2**18


@dataclass(slots=True)
class Driven:
    """What came of it: the seconds each request took, those of the whole, and how many were no 2xx."""

    times: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failed: int = 0

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return len(self.times) / self.seconds

    def percentile(self, percent: int) -> float:
        """Return the latency in milliseconds at a percentile."""
        return sorted(self.times)[len(self.times) * percent // 100] * 1e3


async def drive(url: str, body: bytes, *, connections: int, seconds: float) -> Driven:
    """Send `body` over `connections` until the time is up, and wait for the answers."""
    address = urlsplit(url)
    head = (
        f"POST {address.path or '/'} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    driven = Driven()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_ask(address.port or 80, head.encode() + body, started + seconds, driven))
    driven.seconds = time.perf_counter() - started
    return driven


async def _ask(port: int, request: bytes, ends: float, driven: Driven) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (started := time.perf_counter()) < ends:
            await loop.sock_sendall(connection, request)
            driven.failed += not await _answered(loop, connection)
            driven.times.append(time.perf_counter() - started)


async def _answered(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bool:
    """Read one answer; whether it is a 2xx. Raises RuntimeError if its length is unknown."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += await _some(loop, connection)
    head, _, rest = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length is None:
        raise RuntimeError(f"an answer without a length: {head[:200]!r}")
    missing = int(length[1]) - len(rest)
    while missing > 0:
        missing -= len(await _some(loop, connection))
    return head.startswith(b"HTTP/1.1 2")


async def _some(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    some = await loop.sock_recv(connection, _CHUNK)
    if not some:
        raise RuntimeError("the server closed the connection")
    return some
