"""Proves over HTTP that a revoked key is refused everywhere: on open connections, and in every process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.api.middleware.access_control import AccessControl, Peer
from gateway.auth.access_file.key import new_key
from gateway.auth.access_file.store import AccessFileStore
from gateway.auth.authenticator import Authenticator
from gateway.auth.errors import AuthError
from gateway.auth.keys import KeyAuthenticator
from tests.support.access_files import keys, write
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

KEY, OTHER = new_key()[0], new_key()[0]
PROCESSES = 3


class Connection:
    """One connection on which one request after the other is sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def status(self, key: str) -> int:
        """Send a request with a key, and return the status of the response."""
        self.writer.write(f"GET /model/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line.split()[1] for line in head.splitlines() if line.startswith("Content-Length"))
        await self._reader.readexactly(int(length))
        return int(head.split()[1])


@asynccontextmanager
async def gateway(path: Path) -> AsyncIterator[Connection]:
    """Serve behind access control that knows the keys of a file, and yield a connection that stays open."""
    store = AccessFileStore(path)
    store.load()
    peer = Peer(certificate_names=lambda _: (), address=lambda _: "127.0.0.1")
    access_control = AccessControl(
        Authenticator(keys=KeyAuthenticator(store)), None, peer=peer, counters=Counters()
    )

    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            await access_control.admit(request, access_control.begin(request))
        except AuthError:
            return web.Response(status=401)
        return await handler(request)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="[]")

    app = web.Application(middlewares=[guard])
    app.router.add_get("/model/", answer)
    watching = asyncio.create_task(store.run())
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        yield Connection(reader, writer)
        writer.close()
        await writer.wait_closed()
    watching.cancel()
    await asyncio.wait([watching])


async def _refused(connection: Connection, key: str) -> None:
    while await connection.status(key) != 401:
        pass


@pytest.mark.parametrize(
    "new",
    [keys(other=OTHER), "keys: []\n", keys(mine=OTHER)],
    ids=["removed", "all removed", "another of that id"],
)
async def test_a_revoked_key(tmp_path: Path, new: str) -> None:
    """Each of several gateways refuses it on a connection that it accepted before, without a restart."""
    path = write(tmp_path / "access.yaml", keys(mine=KEY, other=OTHER))
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(gateway(path)) for _ in range(PROCESSES)]
        assert [await each.status(KEY) for each in opened] == [200] * PROCESSES
        write(path, new)
        async with asyncio.timeout(60):
            await asyncio.gather(*(_refused(each, KEY) for each in opened))
        expected = 401 if new == "keys: []\n" else 200
        assert [await each.status(OTHER) for each in opened] == [expected] * PROCESSES


async def test_a_file_that_is_gone_revokes_nothing(tmp_path: Path) -> None:
    """A mistake of deployment must not stop every client; the log says so."""
    path = write(tmp_path / "access.yaml", keys(mine=KEY))
    async with gateway(path) as connection:
        _remove(path)
        for _ in range(20):
            assert await connection.status(KEY) == 200


def _remove(path: Path) -> None:
    path.unlink()
