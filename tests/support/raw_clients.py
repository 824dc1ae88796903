"""Clients that speak to a gateway in bare bytes, as hostile and broken ones do, and a light one."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 30.0
"""What anything may take on a machine that is busy with other things."""

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def head(path: str, *headers: str) -> bytes:
    """The head of a POST of JSON."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Bare:
    """One connection; whatever the gateway does to it is no error here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        assert isinstance(writer.transport, asyncio.Transport)
        self._reading = writer.transport

    async def send(self, data: bytes) -> bool:
        """Send; False where the gateway has closed the connection, or takes no more for a while."""
        try:
            self._writer.write(data)
            async with asyncio.timeout(SECONDS):
                await self._writer.drain()
        except (ConnectionError, TimeoutError):
            return False
        return True

    async def status(self) -> int:
        """The status of the next answer, whose head is read; 0 where the connection ends without one."""
        return int((await self.answer_head()).split(b" ", 2)[1])

    async def answer_head(self) -> bytes:
        """The head of the next answer; `- 0` where the connection ends without one."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b"- 0 "

    async def rest(self, seconds: float = SECONDS) -> bytes:
        """All that comes until the gateway ends the connection; TimeoutError where it does not."""
        async with asyncio.timeout(seconds):
            with suppress(ConnectionError):
                return await self._reader.read()
        return b""

    def pause(self) -> None:
        """Take nothing from now on but what `take` is asked for."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._reading.pause_reading()

    def push(self, data: bytes) -> None:
        """Send without waiting until the gateway takes it."""
        self._writer.write(data)

    async def take(self, most: int) -> int:
        """Take so many bytes at most; how many came."""
        self._reading.resume_reading()
        try:
            async with asyncio.timeout(SECONDS):
                return len(await self._reader.read(most))
        finally:
            self._reading.pause_reading()

    def vanish(self) -> None:
        """Go away without a word of goodbye: the other side is told by a reset at most."""
        self._writer.transport.abort()


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Bare]:
    """A connection to the gateway at `url`, gone afterwards."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = Bare(reader, writer)
    try:
        yield client
    finally:
        client.vanish()


class Light:
    """A client that asks again and again for next to nothing: how long it waited at most."""

    def __init__(self) -> None:
        self.answers = 0
        self.slowest = 0.0


@asynccontextmanager
async def light(url: str, *, every: float = 0.01) -> AsyncIterator[Light]:
    """Such a client meanwhile; each of its requests must be answered with 200."""
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
