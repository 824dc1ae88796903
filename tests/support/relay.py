"""A TCP relay in front of a server, which records the requested paths and can cut all connections."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_REQUEST = re.compile(rb"^(GET|POST) (\S+) HTTP/1.1\r$", re.MULTILINE)


class Relay:
    """A relay from `url` to the server at `to`. `requests` are the paths of all requests so far."""

    def __init__(self, to: str) -> None:
        self._host, self._port = to.removeprefix("http://").split(":")
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.requests: list[str] = []

    async def open(self) -> None:
        """Start to listen."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)

    @property
    def url(self) -> str:
        """The relay's own address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def artifacts(self) -> list[str]:
        """Return the path of each artifact request so far."""
        part = "/mlflow-artifacts/artifacts/"
        return [line.split(part)[1] for line in self.requests if part in line]

    async def cut(self) -> None:
        """Close every connection and accept no more. A second call does nothing."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there_reader, there_writer = await asyncio.open_connection(self._host, int(self._port))
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
        for each in (there_writer, writer):
            with suppress(ConnectionError):
                await each.wait_closed()

    async def _before(self, data: bytes) -> None:
        """Run before `data` is passed on; a subclass may wait here."""

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(65536):
                self.requests += [match[2].decode() for match in _REQUEST.finditer(data)]
                await self._before(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return  # one side is gone: the other follows
        finally:
            self._writers.discard(writer)
            writer.close()


@asynccontextmanager
async def relay_to(url: str) -> AsyncIterator[Relay]:
    """Open a relay to `url`, and cut it at the end."""
    relay = Relay(url)
    await relay.open()
    try:
        yield relay
    finally:
        await relay.cut()
