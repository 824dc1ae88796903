"""Proves that a gateway under load ends without a request lost, and what is left of one that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from time import perf_counter
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.commands import descendants, left, parent
from tests.support.figures import note
from tests.support.gateways import BODY
from tests.support.relay import Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.end_to_end.conftest import Process
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.timeout(300)

PATH = "/model/api-tens/1/invocation"
CLIENTS = 32
PATIENCE_SECONDS = 60.0


async def ask(client: aiohttp.ClientSession, gateway: Process) -> int:
    """The status of one prediction, whose answer is whole and right."""
    headers = {"Content-Type": "application/json"}
    async with client.post(gateway.url + PATH, data=BODY, headers=headers) as answer:
        if answer.status == 200:
            assert (await answer.json())["predictions"] == [30.0, 70.0]
        return answer.status


async def ask_until_refused(gateway: Process) -> int:
    """Ask on one connection after another, each as long as it lasts; how often there was an answer."""
    connector = aiohttp.TCPConnector(limit=1)
    patience = aiohttp.ClientTimeout(total=PATIENCE_SECONDS / 2)
    async with aiohttp.ClientSession(connector=connector, timeout=patience) as client:
        count = 0
        while True:
            try:
                assert await ask(client, gateway) == 200
            except aiohttp.ClientConnectorError:
                return count  # the port is closed: nothing of the request was sent
            except aiohttp.ClientConnectionError:
                # A connection that was made while the listener closed is reset; no other is.
                assert any("no new connections" in line for line in gateway.log())
                return count
            count += 1


async def ready(client: aiohttp.ClientSession, gateway: Process) -> tuple[int, str]:
    """The status of the readiness probe, and what it says of its connection."""
    async with client.get(f"{gateway.url}/health/ready") as answer:
        return answer.status, answer.headers.get("Connection", "")


async def until(wanted: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not wanted():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)


def own_folders(temporary: Path) -> set[Path]:
    """Those of gateway processes, dead or alive."""
    return set(temporary.glob("gateway-*"))


async def status_of(gateway: Process) -> int:
    return await asyncio.to_thread(gateway.status, PATIENCE_SECONDS)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_no_request_is_lost_under_load(
    client: aiohttp.ClientSession, start: Callable[..., Process], processes: str
) -> None:
    """Clients that come again and again are answered whole, until they are refused; status 0, nothing left.

    The gateway is not ready from the signal on, while it still answers, each time as its connection's last.
    """
    gateway = start(GATEWAY_GRACE_SECONDS="1.5", GATEWAY_PROCESSES=processes)
    while (await ready(client, gateway))[0] != 200:  # noqa: ASYNC110 - likewise
        await asyncio.sleep(0.1)
    for _ in range(8):  # so that the model is warm in each process
        async with aiohttp.ClientSession() as other:
            assert await ask(other, gateway) == 200
    below = descendants(gateway.pid)
    clients = [asyncio.create_task(ask_until_refused(gateway)) for _ in range(CLIENTS)]
    await asyncio.sleep(1.0)
    gateway.send(signal.SIGTERM)
    await until(lambda: any("not ready" in line for line in gateway.log()))
    async with aiohttp.ClientSession() as probe:
        assert await ready(probe, gateway) == (503, "close")
    answered = await asyncio.gather(*clients)
    assert all(count > 2 for count in answered)
    assert await status_of(gateway) == 0
    assert await asyncio.to_thread(left, below) == set()
    assert not any("aborting" in line for line in gateway.log())


async def test_a_second_signal_ends_the_grace_too(
    client: aiohttp.ClientSession, start: Callable[..., Process]
) -> None:
    """Whoever does not want to wait for load balancers says so."""
    gateway = start(GATEWAY_GRACE_SECONDS="100", GATEWAY_DRAIN_SECONDS="100")
    assert await ask(client, gateway) == 200
    below = descendants(gateway.pid)
    gateway.send(signal.SIGTERM)
    await until(lambda: any("not ready" in line for line in gateway.log()))
    gateway.send(signal.SIGTERM)
    assert await status_of(gateway) == 1
    assert await asyncio.to_thread(left, below) == set()


async def test_ctrl_c_has_no_grace(
    client: aiohttp.ClientSession, start: Callable[..., Process], tmp_path: Path
) -> None:
    """A person at a terminal does not wait for load balancers; no temporary file stays."""
    gateway = start(GATEWAY_GRACE_SECONDS="100", GATEWAY_DRAIN_SECONDS="100", TMPDIR=str(tmp_path))
    assert await ask(client, gateway) == 200
    assert own_folders(tmp_path)
    gateway.send(signal.SIGINT)
    assert await status_of(gateway) == 0
    assert not own_folders(tmp_path)


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_killed_gateway_leaves_nothing_and_its_cache_is_used_again(
    mlflow_server: MlflowServer, start: Callable[..., Process], tmp_path: Path, processes: str
) -> None:
    """Its workers end with it; the next one downloads nothing, and removes its temporary files."""
    relay = Relay(mlflow_server.url)
    await relay.open()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    killed: set[Path] = set()
    values = {
        "TMPDIR": str(scratch),
        "MLFLOW_TRACKING_URI": relay.url,
        "GATEWAY_CACHE_DIR": str(tmp_path / "cache"),
        "GATEWAY_PROCESSES": processes,
    }
    try:
        for downloads in (True, False):
            gateway = start(**values)
            async with aiohttp.ClientSession() as client:
                assert await ask(client, gateway) == 200
            assert bool(relay.artifacts()) is downloads
            relay.requests.clear()
            assert not killed & own_folders(scratch)
            killed = own_folders(scratch)
            assert killed
            below = descendants(gateway.pid)
            assert below
            gateway.send(signal.SIGKILL)
            began = perf_counter()
            assert await asyncio.to_thread(left, below, within=10) == set()
            note(f"gateway killed, {processes} process(es)", all_gone_after=perf_counter() - began)
    finally:
        await relay.cut()


async def test_killed_in_the_midst_of_a_load(
    client: aiohttp.ClientSession, start: Callable[..., Process]
) -> None:
    """The process that is being started ends too."""
    gateway = start()
    asked = asyncio.create_task(ask(client, gateway))

    async def state() -> str:
        async with client.get(f"{gateway.url}/model/api-tens/1") as answer:
            told: str = (await answer.json())["serving"]["state"]
            return told

    while await state() == "cold":  # noqa: ASYNC110 - likewise
        await asyncio.sleep(0.02)
    assert await state() == "loading"
    below = descendants(gateway.pid)
    gateway.send(signal.SIGKILL)
    # The template may be in the midst of its imports, and notices after them.
    assert await asyncio.to_thread(left, below, within=60) == set()
    assert await asyncio.to_thread(gateway.left) == []
    with pytest.raises(aiohttp.ClientConnectionError):
        await asked


class Stalling(Relay):
    """Holds back the answer with a model's files, and whoever waits for it."""

    def __init__(self, to: str) -> None:
        super().__init__(to)
        self.stalled = asyncio.Event()
        self.released = asyncio.Event()

    async def _before(self, data: bytes) -> None:
        if b".pkl HTTP/1.1" in data and not self.released.is_set():
            self.stalled.set()
            await self.released.wait()


def replicas(gateway: Process) -> set[int]:
    """The gateway's processes under a supervisor."""
    return {pid for pid in descendants(gateway.pid) if parent(pid) == gateway.pid}


async def answered_at_last(gateway: Process) -> int:
    """Ask until there is an answer."""
    while True:
        try:
            async with aiohttp.ClientSession() as client:
                return await ask(client, gateway)
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("victim", ["gateway", "replica"])
async def test_killed_in_the_midst_of_a_download(
    mlflow_server: MlflowServer, start: Callable[..., Process], tmp_path: Path, victim: str
) -> None:
    """What was left half done is removed by whoever fetches next, and the model is served."""
    relay = Stalling(mlflow_server.url)
    await relay.open()
    partial = tmp_path / "cache" / "v1" / "partial"
    values = {"MLFLOW_TRACKING_URI": relay.url, "GATEWAY_CACHE_DIR": str(tmp_path / "cache")}
    gateway = start(**values, GATEWAY_PROCESSES="2" if victim == "replica" else "1")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession() as client:
            asked = asyncio.create_task(ask(client, gateway))
            await relay.stalled.wait()
            (half,) = partial.iterdir()
            for pid in replicas(gateway) if victim == "replica" else {gateway.pid}:
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientConnectionError):
                await asked
            relay.released.set()
            if victim == "gateway":
                gateway = start(**values)
            assert await answered_at_last(gateway) == 200
        assert not half.exists()
        assert list(partial.iterdir()) == []
    finally:
        relay.released.set()
        await relay.cut()
