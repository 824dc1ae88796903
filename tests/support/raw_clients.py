"""Clients that send and receive raw bytes, as hostile and broken clients do, and a light client."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

import aiohttp

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 30.0
"""A time limit in seconds for any step, on a machine that is busy with other things."""

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def head(path: str, *headers: str) -> bytes:
    """Return the head of a POST request with a JSON body."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Bare:
    """A connection that sends and receives raw bytes. A reset by the gateway is not an error."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._reading = cast("asyncio.Transport", writer.transport)  # uvloop's own class with TLS

    async def send(self, data: bytes) -> bool:
        """Send; return False if the gateway has closed the connection, or reads nothing for `SECONDS`."""
        try:
            self._writer.write(data)
            async with asyncio.timeout(SECONDS):
                await self._writer.drain()
        except (ConnectionError, TimeoutError):
            return False
        return True

    async def status(self) -> int:
        """Read the head of the next response and return its status, or 0 if the connection ends before."""
        return int((await self.answer_head()).split(b" ", 2)[1])

    async def answer_head(self) -> bytes:
        """Return the head of the next response, or `- 0` if the connection ends before."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b"- 0 "

    async def rest(self, seconds: float = SECONDS) -> bytes:
        """Return all that arrives until the gateway ends the connection; TimeoutError if it does not."""
        parts: list[bytes] = []
        async with asyncio.timeout(seconds):
            with suppress(ConnectionError):
                while part := await self._reader.read(65536):
                    parts.append(part)
        return b"".join(parts)

    def pause(self) -> None:
        """Read nothing from now on, except with `take`."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._reading.pause_reading()

    def push(self, data: bytes) -> None:
        """Send without waiting until the gateway has read it."""
        self._writer.write(data)

    async def take(self, most: int) -> int:
        """Read at most `most` bytes; return how many arrived."""
        self._reading.resume_reading()
        try:
            async with asyncio.timeout(SECONDS):
                return len(await self._reader.read(most))
        finally:
            self._reading.pause_reading()

    def vanish(self) -> None:
        """Disconnect without closing properly."""
        self._writer.transport.abort()


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Bare]:
    """Connect to the gateway at `url`, and disconnect at the end."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = Bare(reader, writer)
    try:
        yield client
    finally:
        client.vanish()


class Light:
    """The results of a light client: the number of its responses, and the longest latency in seconds."""

    def __init__(self) -> None:
        self.answers = 0
        self.slowest = 0.0


@asynccontextmanager
async def light(url: str, *, every: float = 0.01) -> AsyncIterator[Light]:
    """Send one small request after the other while the context lasts; each response must have status 200."""
    seen = Light()

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                began = time.perf_counter()
                async with session.get(f"{url}/health/live") as answer:
                    assert answer.status == 200
                    await answer.read()
                seen.slowest = max(seen.slowest, time.perf_counter() - began)
                seen.answers += 1
                await asyncio.sleep(every)

    task = asyncio.create_task(ask())
    try:
        await until(lambda: seen.answers > 0 or task.done())
        yield seen
        before = seen.answers
        await until(lambda: seen.answers > before or task.done())
        assert not task.done(), "the light client failed"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
