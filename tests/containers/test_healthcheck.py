"""Proves what the images' health check says of a gateway with and without TLS."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.tls import Pki, tls_server

if TYPE_CHECKING:
    from tests.support.tls import TlsServer

SCRIPT = Path(__file__).parents[2] / "containers" / "healthcheck.py"


async def check(server: TlsServer, path: str, **environ: str) -> int:
    """Return the status of the script."""

    def run() -> int:
        command = [sys.executable, "-IS", str(SCRIPT), f"http://127.0.0.1:{{PORT}}{path}"]
        values = {"PORT": str(server.port), **environ}
        return subprocess.run(command, env=values, capture_output=True, check=False, timeout=60).returncode

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("client", ["none", "optional", "required"])
async def test_tls(tmp_path: Path, client: str) -> None:
    """A gateway that is ready, or asks for a certificate first, is healthy; one that is not ready is not."""

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    async def unready(_: web.Request) -> web.Response:
        return web.Response(status=503)

    pki = Pki(tmp_path)
    async with tls_server(pki.settings(client), {"/ready": ready, "/unready": unready}) as server:
        environ = pki.environ(client)
        assert await check(server, "/ready", **environ) == 0
        assert (await check(server, "/unready", **environ) == 0) is (client == "required")
        assert await check(server, "/ready") == 1  # by HTTP
    assert await check(server, "/ready", **environ) == 1  # nothing listens any more
