"""Proves what clients see of a gateway that speaks HTTPS, and what its operator may do meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme

from tests.support.gateway_process import Process
from tests.support.gateways import BODY
from tests.support.raw_clients import LIVE, SECONDS, Bare, head
from tests.support.tls import CHECKOUT, Pki
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.end_to_end.conftest import Start

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    folder = tmp_path / "pki"
    folder.mkdir()
    return Pki(folder)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """A function that starts a gateway whose MLflow server is away."""
    started: list[Process] = []

    def run(**values: str) -> Process:
        folder = tmp_path / f"gateway-{len(started)}"
        folder.mkdir()
        defaults = {
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
            "GATEWAY_CACHE_DIR": str(folder / "cache"),
            "GATEWAY_PORT": "0",
            "GATEWAY_GRACE_SECONDS": "0",
            "GATEWAY_PRELOAD": "none",
        }
        started.append(
            Process(folder, defaults | values, program="serve", python=sys.executable, preexec=None)
        )
        return started[-1]

    yield run
    for process in started:
        process.end()


def port(gateway: Process) -> int:
    assert gateway.url.startswith("https://127.0.0.1:"), gateway.log()
    return int(gateway.url.rpartition(":")[2])


async def connect(gateway: Process, context: ssl.SSLContext | None) -> Bare:
    name = "localhost" if context else None
    async with asyncio.timeout(SECONDS):
        return Bare(
            *await asyncio.open_connection("127.0.0.1", port(gateway), ssl=context, server_hostname=name)
        )


async def shown(gateway: Process, context: ssl.SSLContext) -> bytes:
    """Return the certificate that a new connection gets."""
    client = await connect(gateway, context)
    certificate: bytes = client._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await client.send(LIVE)
    assert await client.status() == 200
    client.vanish()
    return certificate


async def metrics(gateway: Process, context: ssl.SSLContext) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{gateway.url}/metrics", ssl=context) as answer,
    ):
        return await answer.text()


async def test_https(serve: Callable[..., Process], pki: Pki) -> None:
    """Requests and files are answered; a client without TLS learns it, is counted, and is not logged."""
    gateway, client = serve(**pki.environ()), pki.client()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client)) as session:
        for path in ("/health/live", "/docs", "/docs/swagger-ui-bundle.js", "/openapi.json"):
            async with session.get(gateway.url + path) as answer:
                assert answer.status == 200
                assert len(await answer.read()) > 10
    plain = await connect(gateway, None)
    await plain.send(LIVE)
    assert b"400 Bad Request" in await plain.answer_head()
    plain.vanish()
    assert 'gateway_tls_handshakes_failed_total{reason="plain_http"} 1.0' in await metrics(gateway, client)
    (record,) = gateway.events("tls")
    assert record["names"] == ["localhost", "127.0.0.1"]
    assert gateway.events("listening")[0]["address"] == gateway.url
    assert [each for each in gateway.records() if each["level"] == "error"] == []


@pytest.mark.slow
async def test_predictions(start: Start, pki: Pki) -> None:
    """A prediction over TLS is as one without."""
    gateway = start(preload="lean", **pki.environ("required"))
    client = pki.client(uris=[CHECKOUT])
    url = f"{gateway.url}/model/api-tens/1/invocation"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client)) as session,
        session.post(url, data=BODY, headers={"Content-Type": "application/json"}) as answer,
    ):
        assert (await answer.json())["predictions"] == [30.0, 70.0]


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_wrong_files_start_nothing(serve: Callable[..., Process], pki: Pki, processes: str) -> None:
    """The status is 2, and the log says which setting is wrong."""
    pki.write_server(expires=datetime.now(UTC) - timedelta(days=1))
    gateway = serve(**pki.environ(), GATEWAY_PROCESSES=processes)
    assert gateway.url == ""
    assert await gateway.exit_status() == 2
    (record,) = gateway.events("start_failed")
    assert "GATEWAY_TLS_CERT_FILE: the certificate expired" in record["message"]


class Load:
    """Clients that ask on old and on new connections until they are stopped; each failure is an error."""

    def __init__(self, gateway: Process, context: ssl.SSLContext) -> None:
        self._gateway, self._context = gateway, context
        self.answers = 0
        self._stop = asyncio.Event()

    async def _ask(self, *, keep: bool) -> None:
        connector = aiohttp.TCPConnector(ssl=self._context, force_close=not keep, limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not self._stop.is_set():
                async with session.get(f"{self._gateway.url}/health/live") as answer:
                    assert answer.status == 200
                    await answer.read()
                self.answers += 1

    async def __aenter__(self) -> Load:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        for number in range(6):
            self._group.create_task(self._ask(keep=number % 2 == 0))
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._stop.set()
        await self._group.__aexit__(*error)

    async def some(self) -> None:
        """Wait until more requests are answered."""
        before = self.answers
        await until(lambda: self.answers >= before + 100)


@pytest.mark.slow
async def test_reload_under_load(serve: Callable[..., Process], pki: Pki) -> None:
    """SIGHUP puts new files in force in both processes, and no request fails. Broken files change nothing."""
    gateway = serve(**pki.environ("required"), GATEWAY_PROCESSES="2")
    client = pki.client(uris=[CHECKOUT])
    async with Load(gateway, client) as load:
        for count in range(1, 6):
            await load.some()
            certificate = pki.write_server()
            gateway.send(signal.SIGHUP)
            await gateway.wait_for("tls_reloaded", times=2 * count)
            assert {await shown(gateway, client) for _ in range(8)} == {certificate}
        pki.key.write_bytes(b"broken")
        gateway.send(signal.SIGHUP)
        await gateway.wait_for("tls_reload_failed", times=2)
        await load.some()
        assert {await shown(gateway, client) for _ in range(8)} == {certificate}
    assert load.answers > 600
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0
    assert len(gateway.events("tls_reload_failed")) == 2


@pytest.mark.slow
async def test_a_change_is_found(serve: Callable[..., Process], pki: Pki) -> None:
    """Without a signal, a new certificate is in force some seconds later."""
    gateway, client = serve(**pki.environ()), pki.client()
    first = await shown(gateway, client)
    second = pki.write_server()
    await gateway.wait_for("tls_reloaded")
    assert (await shown(gateway, client), first != second) == (second, True)


async def test_a_removed_authority(serve: Callable[..., Process], pki: Pki) -> None:
    """Its clients are refused after SIGHUP, and the connections that they have are closed."""
    other = trustme.CA()
    gateway, client = serve(**pki.environ("required")), pki.client(uris=[CHECKOUT])
    kept = await connect(gateway, client)
    await kept.send(LIVE)
    assert await kept.status() == 200
    pki.write_client_cas(other)
    gateway.send(signal.SIGHUP)
    (record,) = await gateway.wait_for("tls_reloaded")
    assert record["removed"] == 1
    await kept.rest()
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
        await (await connect(gateway, client)).rest()
    assert await shown(gateway, pki.client(other, uris=[CHECKOUT]))


async def test_replaced_processes_know_the_files(serve: Callable[..., Process], pki: Pki) -> None:
    """A process that takes a dead one's place serves with the first files if the newest are broken."""
    gateway, client = serve(**pki.environ(), GATEWAY_PROCESSES="2"), pki.client()
    first = await shown(gateway, client)
    pki.key.write_bytes(b"broken")
    for pid in gateway.child_pids():
        os.kill(pid, signal.SIGKILL)
    await gateway.wait_for("listening", times=4)
    assert await shown(gateway, client) == first
    await gateway.wait_for("tls_reload_failed", times=2)


async def test_shutdown(serve: Callable[..., Process], pki: Pki) -> None:
    """Silent handshakes, and idle clients that do not answer, do not hold the end of the gateway."""
    gateway, client = serve(**pki.environ()), pki.client()
    silent = [await connect(gateway, None) for _ in range(3)]
    idle = [await connect(gateway, client) for _ in range(3)]
    for each in idle:
        await each.send(LIVE)
        assert await each.status() == 200
        each.pause()
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0
    assert gateway.events("shutdown_aborted") == []
    for each in (*silent, *idle):
        each.vanish()


@pytest.mark.slow
async def test_a_refused_body(serve: Callable[..., Process], pki: Pki) -> None:
    """A client that sends a body that is too large gets the whole answer while it is still sending."""
    gateway = serve(**pki.environ(), GATEWAY_MAX_BODY_BYTES="1000")
    client = await connect(gateway, pki.client())
    await client.send(head("/model/x/1/invocation", "Content-Length: 100000000") + bytes(2**20))
    assert await client.status() == 413
    client.push(bytes(2**22))
    assert b"RESOURCE_LIMIT_EXCEEDED" in await client.rest()
    client.vanish()


@pytest.mark.slow
async def test_slow_readers(serve: Callable[..., Process], pki: Pki) -> None:
    """A client that reads nothing of its responses is closed after the time for idle connections."""
    gateway, context = serve(**pki.environ(), GATEWAY_IDLE_CONNECTION_SECONDS="2"), pki.client()
    client = await connect(gateway, context)
    client.pause()
    for _ in range(20):
        await client.send(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await gateway.wait_for("connections_closed")
    assert 'gateway_connections_closed_total{reason="slow_reader"} 1.0' in await metrics(gateway, context)
    client.vanish()


async def test_a_flood_of_handshakes(serve: Callable[..., Process], pki: Pki) -> None:
    """Hundreds of handshakes that go nowhere neither fill the log nor keep others out."""
    gateway, context = serve(**pki.environ("required")), pki.client(uris=[CHECKOUT])
    stranger = pki.client(trustme.CA(), uris=[CHECKOUT])

    clients: list[Bare] = []  # open to the end

    async def attack(number: int) -> None:
        client = await connect(gateway, stranger if number % 3 == 0 else None)
        await client.send(b"\x16\x03\x01\x02\x00" if number % 3 == 1 else b"GET / HTTP/1.1\r\n\r\n")
        clients.append(client)

    async with asyncio.TaskGroup() as group:
        for number in range(300):
            group.create_task(attack(number))
    assert await shown(gateway, context)
    text = await metrics(gateway, context)
    assert 'gateway_tls_handshakes_failed_total{reason="certificate"} 100.0' in text
    for client in clients:
        client.vanish()
    assert len(gateway.records()) < 20
