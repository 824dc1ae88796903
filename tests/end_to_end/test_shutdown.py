"""Proves that a gateway under load ends without a lost request, and what a killed gateway leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.commands import descendants, still_running
from tests.support.figures import note
from tests.support.gateways import BODY
from tests.support.relay import Relay
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.conftest import Process, Start
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.timeout(300)

PATH = "/model/api-tens/1/invocation"
CLIENTS = 32
PATIENCE_SECONDS = 60.0


async def predict(client: aiohttp.ClientSession, gateway: Process) -> int:
    """Return the status of one prediction; if it is 200, the predictions must be right."""
    headers = {"Content-Type": "application/json"}
    async with client.post(gateway.url + PATH, data=BODY, headers=headers) as response:
        if response.status == 200:
            assert (await response.json())["predictions"] == [30.0, 70.0]
        return response.status


async def predict_until_refused(gateway: Process) -> int:
    """Send requests until the gateway accepts no connection; return the number of predictions.

    Every request must be answered. A connection is used as long as it lasts.
    """
    connector = aiohttp.TCPConnector(limit=1)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        count = 0
        while True:
            try:
                assert await predict(client, gateway) == 200
            except aiohttp.ClientConnectorError:
                return count  # the port is closed: nothing of the request was sent
            except aiohttp.ClientConnectionError:
                # A connection that was established while the listener closed is reset; no other is.
                assert gateway.events("shutdown_draining")
                return count
            count += 1


async def readiness(client: aiohttp.ClientSession, gateway: Process) -> tuple[int, str]:
    """Return the status of the readiness probe, and its Connection header."""
    async with client.get(f"{gateway.url}/health/ready") as response:
        return response.status, response.headers.get("Connection", "")


def gateway_folders(folder: Path) -> set[Path]:
    """Return the temporary folders of gateway processes, running or not."""
    return set(folder.glob("gateway-*"))


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix="test-") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_no_request_is_lost_under_load(
    client: aiohttp.ClientSession, start: Start, processes: str
) -> None:
    """Every request of 32 clients is answered until the port is closed; status 0, and no process is left.

    From the signal on the gateway reports that it is not ready, and each response closes its connection.
    """
    gateway = start(preload="lean", GATEWAY_GRACE_SECONDS="1.5", GATEWAY_PROCESSES=processes)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await readiness(client, gateway))[0] != 200:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.1)
    for _ in range(8):  # on new connections, so that each process loads the model
        async with aiohttp.ClientSession() as other:
            assert await predict(other, gateway) == 200
    below = descendants(gateway.pid)
    clients = [asyncio.create_task(predict_until_refused(gateway)) for _ in range(CLIENTS)]
    await asyncio.sleep(1.0)  # of load
    gateway.send(signal.SIGTERM)
    if processes == "1":
        await gateway.wait_for("shutdown_started")
    else:  # the supervisor logs it too
        await gateway.wait_for("shutdown_started", times=3)
    async with aiohttp.ClientSession() as probe:
        assert await readiness(probe, gateway) == (503, "close")
    counts = await asyncio.gather(*clients)
    assert all(count > 2 for count in counts)
    assert await gateway.exit_status() == 0
    assert await asyncio.to_thread(still_running, below) == set()
    assert not gateway.events("shutdown_aborted")


@pytest.mark.slow
async def test_a_second_signal_ends_the_grace_too(client: aiohttp.ClientSession, start: Start) -> None:
    """A second SIGTERM ends the gateway during its grace time, with status 1; no process is left."""
    gateway = start(GATEWAY_GRACE_SECONDS="1000", GATEWAY_DRAIN_SECONDS="1000")
    assert await predict(client, gateway) == 200
    below = descendants(gateway.pid)
    gateway.send(signal.SIGTERM)
    await gateway.wait_for("shutdown_started")
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 1
    assert await asyncio.to_thread(still_running, below) == set()


async def test_ctrl_c_has_no_grace(client: aiohttp.ClientSession, start: Start, temporary: Path) -> None:
    """SIGINT ends the gateway without the grace time for load balancers; no temporary folder is left."""
    gateway = start(GATEWAY_GRACE_SECONDS="1000", GATEWAY_DRAIN_SECONDS="1000", TMPDIR=str(temporary))
    assert await predict(client, gateway) == 200
    assert gateway_folders(temporary)
    gateway.send(signal.SIGINT)
    assert await gateway.exit_status() == 0
    assert not gateway_folders(temporary)


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_killed_gateway_leaves_nothing_and_its_cache_is_used_again(
    mlflow_server: MlflowServer, start: Start, tmp_path: Path, temporary: Path, processes: str
) -> None:
    """Its workers end with it; the next gateway downloads nothing, and removes its temporary folders."""
    relay = Relay(mlflow_server.url)
    await relay.open()
    killed: set[Path] = set()
    values = {
        "TMPDIR": str(temporary),
        "MLFLOW_TRACKING_URI": relay.url,
        "GATEWAY_CACHE_DIR": str(tmp_path / "cache"),
        "GATEWAY_PROCESSES": processes,
    }
    try:
        for downloads in (True, False):
            gateway = start(**values)
            async with aiohttp.ClientSession() as client:
                assert await predict(client, gateway) == 200
            assert bool(relay.artifacts()) is downloads
            relay.requests.clear()
            assert not killed & gateway_folders(temporary)
            killed = gateway_folders(temporary)
            assert killed
            below = descendants(gateway.pid)
            assert below
            gateway.send(signal.SIGKILL)
            began = perf_counter()
            assert await asyncio.to_thread(still_running, below) == set()
            note(f"gateway killed, {processes} process(es)", all_gone_after=perf_counter() - began)
    finally:
        await relay.cut()


async def test_killed_during_a_load(client: aiohttp.ClientSession, start: Start) -> None:
    """The worker that is loading the model ends too."""
    gateway = start()
    url = f"{gateway.url}/model/api-slowest/1"
    loading = asyncio.create_task(client.post(f"{url}/invocation", json={"inputs": [1]}))

    # Workers are children of the fork server, and so the only grandchildren.
    await until(lambda: bool(descendants(gateway.pid) - gateway.child_pids()), interval=0.02)
    async with client.get(url) as response:
        assert (await response.json())["serving"]["state"] == "loading"
    below = descendants(gateway.pid)
    gateway.send(signal.SIGKILL)
    assert await asyncio.to_thread(still_running, below) == set()
    assert await asyncio.to_thread(gateway.left) == []
    with pytest.raises(aiohttp.ClientConnectionError):
        await loading


class StallingRelay(Relay):
    """A relay that holds back a response with a model's files until `released` is set."""

    def __init__(self, to: str) -> None:
        super().__init__(to)
        self.stalled = asyncio.Event()
        self.released = asyncio.Event()

    async def _before(self, data: bytes) -> None:
        if b".pkl HTTP/1.1" in data and not self.released.is_set():
            self.stalled.set()
            await self.released.wait()


async def predict_when_it_serves(gateway: Process) -> int:
    """Send requests until one is answered, and return its status."""
    while True:
        try:
            async with aiohttp.ClientSession() as client:
                return await predict(client, gateway)
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["gateway", "process"])
async def test_killed_during_a_download(
    mlflow_server: MlflowServer, start: Start, tmp_path: Path, victim: str
) -> None:
    """The next process that downloads the model removes the incomplete files, and serves it."""
    relay = StallingRelay(mlflow_server.url)
    await relay.open()
    partial = tmp_path / "cache" / "v1" / "partial"
    values = {"MLFLOW_TRACKING_URI": relay.url, "GATEWAY_CACHE_DIR": str(tmp_path / "cache")}
    gateway = start(**values, GATEWAY_PROCESSES="2" if victim == "process" else "1")
    try:
        async with asyncio.timeout(2 * PATIENCE_SECONDS), aiohttp.ClientSession() as client:
            request = asyncio.create_task(predict(client, gateway))
            await relay.stalled.wait()
            (incomplete,) = partial.iterdir()
            for pid in gateway.child_pids() if victim == "process" else {gateway.pid}:
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientConnectionError):
                await request
            relay.released.set()
            if victim == "gateway":
                gateway = start(**values)
            assert await predict_when_it_serves(gateway) == 200
        assert not incomplete.exists()
        assert list(partial.iterdir()) == []
    finally:
        relay.released.set()
        await relay.cut()
