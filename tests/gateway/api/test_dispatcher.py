"""Proves that known paths are answered as those that are searched for, each with a match of its own."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web

from gateway.api.dispatcher import MAX_PATH_LENGTH, MAX_PATHS, Dispatcher
from gateway.api.runner import GatewayRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

TARGETS = (
    "/model/wine",
    "/model/wine/",
    "/model/wine?x=1",
    "/model/wine?x=2",
    "/model/wine?",
    "/model/wine#part",
    "/model/wine#part?x=1",
    "/model/w%69ne",
    "/model/a%2Fb",
    "/model/%E4%BE%8B",
    "/model/%FF",
    "/model/%",
    "/model/;a=b",
    "//model/wine",
    "/model//wine",
    "/model/../model/wine",
    "/model/%2E%2E/wine",
    "/MODEL/wine",
    "/model/wine/1",
    "http://x/model/wine",
    "http://y/model/wine?x=1",
    "/none",
    "/",
    f"/model/{'a' * MAX_PATH_LENGTH}",
)
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "DELETE")


def application() -> web.Application:
    """Return an application whose answers tell how they were found."""

    async def show(request: web.Request) -> web.Response:
        request.match_info["seen"] = request.match_info.get("seen", "") + "x"  # for this request alone
        found: dict[str, Any] = dict(request.match_info)
        found["query"] = dict(request.query)
        found["path"] = request.path
        found["route"] = str(request.match_info.route.resource)
        found["mine"] = request.app is app and request.match_info.apps == (app,)
        return web.json_response(found, headers={"X-Order": "handler"})

    @web.middleware
    async def outer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return web.json_response({"status": error.status, "allow": error.headers.get("Allow")})
        response.headers["X-Order"] += " outer"
        return response

    @web.middleware
    async def inner(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-Order"] += " inner"
        return response

    app = web.Application(middlewares=[outer, inner])
    app.router.add_get("/model/{name:[^/]+}", show)
    app.router.add_get("/model/{name:[^/]+}/", show)
    app.router.add_post("/model/{name:[^/]+}", show)
    app.router.add_get("/", show)
    return app


@asynccontextmanager
async def serving(kind: type[web.AppRunner]) -> AsyncIterator[tuple[str, int]]:
    """Serve the application, and yield its address."""
    runner = kind(application(), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0]
    finally:
        await runner.cleanup()


async def ask(address: tuple[str, int], method: str, target: str, *headers: str) -> tuple[bytes, Any, Any]:
    """Return the status line, the order of the middlewares, and the body of an answer."""
    reader, writer = await asyncio.open_connection(*address)
    lines = (f"{method} {target} HTTP/1.1", "Host: x", "Content-Length: 0", "Connection: close", *headers)
    writer.write("\r\n".join((*lines, "", "")).encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    order = next((line for line in head.split(b"\r\n") if line.startswith(b"X-Order")), b"")
    return head.split(b"\r\n")[0], order, json.loads(body) if body.startswith(b"{") else body


async def test_every_answer_is_that_of_aiohttp() -> None:
    """Each request of each kind is sent three times, so that the second and third can be known ones."""
    async with serving(GatewayRunner) as own, serving(web.AppRunner) as plain:
        for _ in range(3):
            for target in TARGETS:
                for method in METHODS:
                    wanted = await ask(plain, method, target)
                    assert await ask(own, method, target) == wanted, (method, target)


async def test_expectations_are_aiohttps() -> None:
    """`Expect` is answered by the route's own handler, also where the path is known."""
    async with serving(GatewayRunner) as own:
        await ask(own, "POST", "/model/wine")
        status, _, _ = await ask(own, "POST", "/model/wine", "Expect: 100-continue")
        assert status == b"HTTP/1.1 100 Continue"
        status, _, _ = await ask(own, "POST", "/model/wine", "Expect: something")
        assert status == b"HTTP/1.1 417 Expectation Failed"


@pytest.fixture
async def known() -> AsyncIterator[tuple[Dispatcher, tuple[str, int]]]:
    """Serve, and yield the dispatcher with the address."""
    found: list[Dispatcher] = []

    class Runner(GatewayRunner):
        async def _make_server(self) -> web.Server:
            server = await super()._make_server()
            found.append(cast("Any", server.request_handler).__self__)
            return server

    async with serving(Runner) as address:
        yield found[0], address


async def test_what_is_remembered(known: tuple[Dispatcher, tuple[str, int]]) -> None:
    """Paths that have a route, once for all queries; nothing that any client can make up without end."""
    dispatcher, address = known
    for target in TARGETS:
        await ask(address, "GET", target)
    kept = {path for _, path in dispatcher._known}
    assert {"/model/wine", "/model/a%2Fb", "/"} <= kept
    assert not kept & {"/none", "/model/wine/1", "http://x/model/wine"}
    assert not any("?" in path or "#" in path or len(path) > MAX_PATH_LENGTH for path in kept)


async def test_few_are_remembered(known: tuple[Dispatcher, tuple[str, int]]) -> None:
    """All are forgotten when there are too many."""
    dispatcher, address = known
    await ask(address, "GET", "/model/wine")
    (match,) = dispatcher._known.values()
    dispatcher._known.update({("GET", f"/model/{number}"): match for number in range(MAX_PATHS)})
    await ask(address, "GET", "/model/last")
    assert list(dispatcher._known) == [("GET", "/model/last")]
