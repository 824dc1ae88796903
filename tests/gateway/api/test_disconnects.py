"""Proves that the requests of disconnected clients are dropped, without effect on other clients."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from gateway.api.keys import COMPONENTS
from tests.support.gateways import NO_WALL, Gateway, gateway_at
from tests.support.raw_clients import bare, head
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/model/api-commands/1/invocation"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def loaded(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway with the one worker of the commands loaded, and known to be slow.

    The worker of a fast model gets its next batch while it still runs one.
    """
    async with gateway_at(mlflow_server.url, tmp_path_factory.mktemp("cache"), **NO_WALL) as gateway:
        for seconds in (0, 0.5):
            assert await do(gateway, f"sleep {seconds}") == 200
        yield gateway


def body(*commands: str) -> bytes:
    return json.dumps({"inputs": [{"do": command} for command in commands]}).encode()


def request(*commands: str) -> bytes:
    """Return a whole request."""
    data = body(*commands)
    return head(PATH, f"Content-Length: {len(data)}") + data


async def do(gateway: Gateway, *commands: str) -> int:
    """Return the status of the response to these commands."""
    headers = {"Content-Type": "application/json"}
    async with gateway.post(PATH, data=body(*commands), headers=headers) as response:
        await response.read()
        return response.status


def in_flight(gateway: Gateway) -> int:
    return gateway.app[COMPONENTS].in_flight.count


async def test_mid_wait(loaded: Gateway, tmp_path: Path) -> None:
    """A queued request never runs, the response of a running one is dropped, and other clients get theirs."""
    url = str(loaded.make_url("")).rstrip("/")
    running, queued, kept, go = (tmp_path / name for name in ("running", "queued", "kept", "go"))
    async with bare(url) as first, bare(url) as second:
        await first.send(request(f"note {running}", f"wait_for {go}"))
        await until(running.exists)
        await second.send(request(f"note {queued}"))
        await until(lambda: in_flight(loaded) == 2)
        other = asyncio.create_task(do(loaded, f"note {kept}"))
        await until(lambda: in_flight(loaded) == 3)
        first.vanish()
        second.vanish()
        await until(lambda: in_flight(loaded) == 1)
        assert not kept.exists()  # the worker still runs the first request
        go.touch()
    assert await other == 200
    assert (running.read_bytes(), kept.read_bytes()) == (b".", b".")
    assert not queued.exists()


async def test_a_crowd_mid_wait(loaded: Gateway, tmp_path: Path) -> None:
    """A hundred requests of clients that disconnect at once leave the queue: the next one runs at once."""
    url = str(loaded.make_url("")).rstrip("/")
    running, queued, go = (tmp_path / name for name in ("running", "queued", "go"))
    async with bare(url) as first:
        await first.send(request(f"note {running}", f"wait_for {go}"))
        await until(running.exists)
        clients = [bare(url) for _ in range(100)]
        entered = [await client.__aenter__() for client in clients]
        for client in entered:
            await client.send(request(f"note {queued}", "sleep 1"))
        await until(lambda: in_flight(loaded) == 101)
        for client in entered:
            client.vanish()
        await until(lambda: in_flight(loaded) == 1)
        go.touch()
        assert await first.status() == 200
    assert await do(loaded, "sleep 0") == 200
    assert not queued.exists()


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_mid_upload(loaded: Gateway, tmp_path: Path, framing: str) -> None:
    """Nothing reaches the model, even if the part that arrived is a valid body."""
    url = str(loaded.make_url("")).rstrip("/")
    note = tmp_path / "asked"
    data = body(f"note {note}")
    async with bare(url) as client:
        sent = b"%x\r\n%b\r\n" % (len(data), data) if "chunked" in framing else data
        await client.send(head(PATH, framing) + sent)
        await until(lambda: in_flight(loaded) == 1)
    await until(lambda: in_flight(loaded) == 0)
    assert await do(loaded, "sleep 0") == 200
    assert not note.exists()
