"""`python echo.py PORT`: the least an aiohttp server can do, read a body and send a fixed answer."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

ANSWER = (
    b'{"predictions":[0.06956228462100622],"model":{"name":"wine","version":"1","source":"registry"},'
    b'"note":"as long as others"}'
)


async def echo(request: web.Request) -> web.Response:
    """Read the body, send the fixed answer."""
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


async def serve(port: int) -> None:
    """Answer on 127.0.0.1 until a signal ends the process."""
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/", echo)
    app.router.add_get("/", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
