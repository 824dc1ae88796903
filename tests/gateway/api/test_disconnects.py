"""Proves that what vanished clients asked for is dropped, and that nobody else notices."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer

from gateway.api.keys import COMPONENTS
from tests.support.gateways import Gateway, gateway_at
from tests.support.raw_clients import bare, head
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/model/api-commands/1/invocation"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def patient(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway with the commands' one worker warm."""
    async with gateway_at(mlflow_server.url, tmp_path_factory.mktemp("cache")) as gateway:
        assert await do(gateway, "sleep 0") == 200
        yield gateway


def body(*commands: str) -> bytes:
    return json.dumps({"inputs": [{"do": command} for command in commands]}).encode()


def post(*commands: str) -> bytes:
    """A whole request."""
    data = body(*commands)
    return head(PATH, f"Content-Length: {len(data)}") + data


async def do(gateway: Gateway, *commands: str) -> int:
    """The status of an answer that is waited for."""
    headers = {"Content-Type": "application/json"}
    async with gateway.post(PATH, data=body(*commands), headers=headers) as answer:
        await answer.read()
        return answer.status


def in_flight(gateway: Gateway) -> int:
    assert isinstance(gateway.server, TestServer)
    return gateway.server.app[COMPONENTS].in_flight.count


async def test_mid_wait(patient: Gateway, tmp_path: Path) -> None:
    """A queued job is never run, a running one's answer goes to nobody, and others have their own.

    The model is known to be slow: a worker of a quick one is given a second batch while it runs the first.
    """
    assert await do(patient, "sleep 0.5") == 200
    url = str(patient.make_url("")).rstrip("/")
    running, queued, kept = (tmp_path / name for name in ("running", "queued", "kept"))
    async with bare(url) as first, bare(url) as second:
        await first.send(post(f"note {running}", "sleep 2"))
        await until(running.exists)
        await second.send(post(f"note {queued}"))
        await until(lambda: in_flight(patient) == 2)
        other = asyncio.create_task(do(patient, f"note {kept}"))
        await until(lambda: in_flight(patient) == 3)
        first.vanish()
        second.vanish()
        await until(lambda: in_flight(patient) == 1)
        assert not kept.exists()  # the first call goes on
    assert await other == 200
    assert (running.read_bytes(), kept.read_bytes()) == (b".", b".")
    assert not queued.exists()


async def test_a_crowd_mid_wait(patient: Gateway, tmp_path: Path) -> None:
    """A hundred that vanish at once leave nothing behind: the next waits for the running call alone."""
    assert await do(patient, "sleep 0.5") == 200
    url = str(patient.make_url("")).rstrip("/")
    running, queued = tmp_path / "running", tmp_path / "queued"
    async with bare(url) as first:
        await first.send(post(f"note {running}", "sleep 1"))
        await until(running.exists)
        clients = [bare(url) for _ in range(100)]
        entered = [await client.__aenter__() for client in clients]
        for client in entered:
            await client.send(post(f"note {queued}", "sleep 1"))
        await until(lambda: in_flight(patient) == 101)
        for client in entered:
            client.vanish()
        await until(lambda: in_flight(patient) == 1)
        assert await first.status() == 200
    assert await do(patient, "sleep 0") == 200
    assert not queued.exists()


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_mid_upload(patient: Gateway, tmp_path: Path, framing: str) -> None:
    """Nothing reaches the model, even where what came is valid by itself."""
    url = str(patient.make_url("")).rstrip("/")
    note = tmp_path / "asked"
    data = body(f"note {note}")
    async with bare(url) as client:
        sent = b"%x\r\n%b\r\n" % (len(data), data) if "chunked" in framing else data
        await client.send(head(PATH, framing) + sent)
        await until(lambda: in_flight(patient) == 1)
    await until(lambda: in_flight(patient) == 0)
    assert await do(patient, "sleep 0") == 200
    assert not note.exists()
