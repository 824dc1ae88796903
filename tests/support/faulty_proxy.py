"""Servers in the place of MLflow: a faulty proxy in front of a real server, and servers with a script."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

Fault = Literal["", "away", "slow", "wrong", "html", "500", "half", "cut"]
HANG = b"<hang>"
_PAGES = {
    "wrong": (502, "<html>Bad gateway</html>", "text/html"),
    "html": (200, "<!doctype html><title>Welcome</title>", "text/html"),
    "500": (500, '{"error_code": "INTERNAL_ERROR", "message": "a trace"}', "application/json"),
}


class FaultyProxy:
    """A proxy in front of a real MLflow server, which records the calls and has a fault if one is set.

    `away` drops the connection. `slow` does not respond while the fault lasts. `wrong` responds with the
    error page of a proxy, `html` with a page of another server, and `500` with an error of MLflow. `half`
    sends half of the body as if it were whole, and `cut` closes the connection after half of it. Calls whose
    path contains `refused` get MLflow's error 400, and those that contain `unknown` its page for status 404.
    """

    def __init__(self, target: str, session: aiohttp.ClientSession) -> None:
        self._target = target
        self._session = session
        self.url = ""
        self._fault: Fault = ""
        self._changed = asyncio.Event()
        self.refused = ""
        self.unknown = ""
        self.calls: list[str] = []
        self.authorizations: list[str] = []
        self.waiting = self.most_waiting = 0

    @property
    def fault(self) -> Fault:
        """The fault that calls meet now."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    def counted(self, end: str) -> int:
        """Return the number of calls whose path ends with `end`."""
        return sum(path.endswith(end) for path in self.calls)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass the request on, or respond with the fault."""
        self.calls.append(request.path)
        self.authorizations.append(request.headers.get("Authorization", ""))
        if self.fault == "away":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.refused and self.refused in request.path:
            return web.json_response({"error_code": "INVALID_PARAMETER_VALUE"}, status=400)
        if self.unknown and self.unknown in request.path:
            return web.Response(status=404, text="<h1>Not Found</h1>", content_type="text/html")
        if self.fault == "slow":
            await self._hang()
        if self.fault in _PAGES:
            status, text, media_type = _PAGES[self.fault]
            return web.Response(status=status, text=text, content_type=media_type)
        return await self._passed_on(request)

    async def _hang(self) -> None:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await self._changed.wait()
        finally:
            self.waiting -= 1

    async def _passed_on(self, request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": request.content_type} if request.can_read_body else {}
        if "Authorization" in request.headers:
            headers["Authorization"] = request.headers["Authorization"]
        async with self._session.request(
            request.method, f"{self._target}{request.path_qs}", data=await request.read(), headers=headers
        ) as reply:
            body = await reply.read()
            if self.fault == "half":
                body = body[: len(body) // 2]
            if self.fault == "cut":
                return await _cut(request, reply.content_type, body)
            return web.Response(status=reply.status, body=body, content_type=reply.content_type)


async def _cut(request: web.Request, media_type: str, body: bytes) -> web.StreamResponse:
    headers = {"Content-Type": media_type, "Content-Length": str(len(body))}
    broken = web.StreamResponse(headers=headers)
    await broken.prepare(request)
    await broken.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return broken


@asynccontextmanager
async def faulty_proxy(target: str) -> AsyncIterator[FaultyProxy]:
    """Run a proxy in front of `target` on a port of its own."""
    async with aiohttp.ClientSession() as session:
        proxy = FaultyProxy(target, session)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        # Cancelled, a handler waits for no client that has gone.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield proxy
        finally:
            proxy.fault = ""
            await runner.cleanup()


class Scripted:
    """A server that responds to the n-th request with the n-th script, and to later ones with the last."""

    def __init__(self, scripts: Sequence[bytes]) -> None:
        self._scripts = scripts
        self.url = ""
        self.requests: list[bytes] = []
        self.responded = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, send a script, and close; HANG at the script's end keeps the connection open."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(head)
        writer.write(script.removesuffix(HANG))
        await writer.drain()
        self.responded.set()
        if script.endswith(HANG):
            # Until the client gives up.
            await reader.read()


@asynccontextmanager
async def scripted(*scripts: bytes) -> AsyncIterator[Scripted]:
    """Run a server with `scripts` on a port of its own; each is an HTTP response or a part of one."""
    script = Scripted(scripts)
    running: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.create_task(script.handle(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*running), 10)


def answer(
    status: int,
    body: bytes = b"",
    *,
    media_type: str = "application/json",
    length: int | None = None,
    more: str = "",
) -> bytes:
    """Return an HTTP response. `length` is its Content-Length, if that shall be wrong."""
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\nContent-Length: {size}\r\n"
    return f"{head}Connection: close\r\n{more}\r\n".encode() + body
