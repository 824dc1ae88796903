"""The process of a node: how it starts, what it refuses, how it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import signal
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from gateway.engines.wire.control import Load
from tests.support.commands import descendants, still_running
from tests.support.gateways import BODY
from tests.support.mlflow_server import free_port
from tests.support.node_client import find_version, linked, start_node
from workers.errors import ModelNotLoaded, PoolClosed
from workers.protocol.messages import CloseStream, Job, NextChunk, OpenStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.gateway_process import Process
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow  # each starts a node
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of no fleet
NOT_LOOPBACK = "0.0.0.0"  # noqa: S104 - what a container listens on


@contextmanager
def own_node(folder: Path, server: MlflowServer, **values: str) -> Iterator[Process]:
    """Run a node for one test."""
    process = start_node(folder, server.url, **values)
    try:
        yield process
    finally:
        process.end()


async def test_sigterm_drains(tmp_path: Path, mlflow_server: MlflowServer, registered: list[str]) -> None:
    """What runs is answered, loads are refused, gateways know; then the process ends with 0 and alone."""
    version = await find_version(mlflow_server.url, "api-commands/1")
    other = await find_version(mlflow_server.url, "api-tens/1")
    with own_node(tmp_path, mlflow_server, GATEWAY_GRACE_SECONDS="0.5") as node:
        async with linked(node.url) as client:
            await client.load(version)
            body = b'{"dataframe_split": {"columns": ["do"], "data": [["sleep 3"]]}}'
            (running,) = (await client.start(version.key, Job(body))).values()
            await client.wait_for_state(
                lambda state: version.key in state.models and state.models[version.key].status.running
            )
            node.send(signal.SIGTERM)
            await client.wait_for_state(lambda state: state.draining)
            with pytest.raises(PoolClosed):
                await client.call(lambda call_id: Load(call_id, other))
            await asyncio.sleep(1.0)  # longer than the grace time
            with pytest.raises(ModelNotLoaded):
                await client.ask(version.key, Job(body))
            assert (await asyncio.wait_for(running, 60)).body
            await asyncio.wait_for(client.ended, 60)
        assert await node.exit_status() == 0
        assert node.left() == []


async def test_sigkill_leaves_no_process(
    tmp_path: Path, mlflow_server: MlflowServer, registered: list[str]
) -> None:
    """Workers and fork server end with the node, however it ended."""
    version = await find_version(mlflow_server.url, "api-sums/1")
    with own_node(tmp_path, mlflow_server) as node:
        async with linked(node.url) as client:
            await client.load(version)
            below = descendants(node.pid)
            assert len(below) >= 2
            node.send(signal.SIGKILL)
            await asyncio.wait_for(client.ended, 60)
        await node.exit_status()
        assert still_running(below) == set()


async def test_an_open_stream_is_finished_before_the_node_ends(
    tmp_path: Path, mlflow_server: MlflowServer, registered: list[str]
) -> None:
    """Also one whose client takes its time between two chunks."""
    key = (version := await find_version(mlflow_server.url, "api-streams/1")).key
    body = b'{"dataframe_split": {"columns": ["do"], "data": [["say a b"]]}}'
    with own_node(tmp_path, mlflow_server, GATEWAY_GRACE_SECONDS="0.1") as node:
        async with linked(node.url) as client:
            await client.load(version)
            assert (await client.ask(key, OpenStream(Job(body), 1))).body == b'"a"'
            node.send(signal.SIGTERM)
            await client.wait_for_state(lambda state: state.draining)
            await asyncio.sleep(1.0)  # longer than gateways need to go elsewhere
            with pytest.raises(ModelNotLoaded):
                await client.ask(key, OpenStream(Job(body), 2))
            assert (await client.ask(key, NextChunk(1))).body == b'"b"'
            assert (await client.ask(key, CloseStream(1))).body is None
            await asyncio.wait_for(client.ended, 60)
        assert await node.exit_status() == 0


async def test_the_token_is_asked_for(
    tmp_path: Path, mlflow_server: MlflowServer, registered: list[str]
) -> None:
    """Without it, or with another, no link comes about; with it, all works, also beyond loopback."""
    version = await find_version(mlflow_server.url, "api-sums/1")
    values = {"GATEWAY_FLEET_TOKEN": TOKEN, "GATEWAY_NODE_HOST": NOT_LOOPBACK}
    with own_node(tmp_path, mlflow_server, **values) as node:
        address = node.url.replace(NOT_LOOPBACK, "127.0.0.1")
        for wrong in ("", TOKEN[:-1], TOKEN + "0", TOKEN.upper()):
            async with linked(address, token=wrong, greets=False) as client:
                assert "GATEWAY_FLEET_TOKEN" in await asyncio.wait_for(client.ended, 60)
        async with linked(address, token=TOKEN) as client:
            await client.load(version)
            assert (await client.ask(version.key, Job(BODY))).body == b"[3.0,7.0]"
        assert not [line for line in node.log() if TOKEN in line]


async def test_certificates_are_asked_for(
    tmp_path: Path, mlflow_server: MlflowServer, registered: list[str]
) -> None:
    """A gateway without a certificate of the fleet's authorities cannot even greet."""
    ours, theirs = trustme.CA(), trustme.CA()
    certificate = ours.issue_cert("127.0.0.1", "localhost")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    ours.cert_pem.write_to_path(str(files["ca"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["cert"]))
    certificate.private_key_pem.write_to_path(str(files["key"]))
    files["key"].chmod(0o600)
    values = {f"GATEWAY_FLEET_TLS_{name.upper()}_FILE": str(path) for name, path in files.items()}
    with own_node(tmp_path, mlflow_server, GATEWAY_NODE_HOST=NOT_LOOPBACK, **values) as node:
        address = node.url.replace(NOT_LOOPBACK, "127.0.0.1")
        shown = ours.issue_cert("gateway.example.org")
        async with linked(address, tls=context(ours, shown)) as client:
            assert client.hello is not None
        for other in (None, theirs.issue_cert("gateway.example.org")):
            with pytest.raises(OSError):  # noqa: PT011 - the text is OpenSSL's, which differs by version
                await greet(address, tls=context(ours, other))
        with pytest.raises(OSError):  # noqa: PT011 - without TLS at all
            await greet(address)
        await node.wait_for("node_handshake_failed")


@pytest.mark.slow
async def test_a_new_certificate_needs_no_restart(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """They are short-lived where machines issue them; one that is broken leaves the old one in force."""
    ca = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def issue() -> str:
        issued = ca.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        issued.cert_chain_pems[0].write_to_path(str(cert))
        return issued.cert_chain_pems[0].bytes().decode()

    first = issue()
    values = {"GATEWAY_FLEET_TLS_CERT_FILE": str(cert), "GATEWAY_FLEET_TLS_KEY_FILE": str(key)}
    with own_node(tmp_path, mlflow_server, **values) as node:
        host, _, port = node.url.rpartition(":")

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=60)

        assert (await shown()).split() == first.split()
        second = issue()
        await node.wait_for("tls_reloaded")
        assert (await shown()).split() == second.split()
        cert.write_text("no certificate")
        await node.wait_for("tls_reload_failed")
        assert (await shown()).split() == second.split()


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """With the name of the setting, and before anything listens."""
    ca = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    ca.issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(str(cert))
    ca.issue_cert("127.0.0.1").private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    values = {"GATEWAY_FLEET_TLS_CERT_FILE": str(cert), "GATEWAY_FLEET_TLS_KEY_FILE": str(key)}
    with own_node(tmp_path, mlflow_server, **values) as node:
        assert node.status() != 0
        assert any("GATEWAY_FLEET_TLS_KEY_FILE: the key does not belong" in line for line in node.log())


async def greet(address: str, tls: ssl.SSLContext | None = None) -> None:
    """Open a link, and end it. Raise OSError."""
    async with linked(address, tls=tls):
        pass


def context(ca: trustme.CA, shown: trustme.LeafCert | None) -> ssl.SSLContext:
    """Return what a gateway has that trusts `ca` and shows a certificate, if it has one."""
    found = ssl.create_default_context()
    ca.configure_trust(found)
    if shown is not None:
        shown.configure_cert(found)
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", NOT_LOOPBACK])
def test_a_node_without_a_token_does_not_start(
    host: str, tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    """It says what to set: models of its machine could connect as well."""
    with own_node(tmp_path, mlflow_server, GATEWAY_NODE_HOST=host, GATEWAY_FLEET_TOKEN="") as node:
        assert node.url == ""
        assert node.status() != 0
        assert any("set GATEWAY_FLEET_TOKEN" in line for line in node.log())


def test_a_port_that_is_taken_is_said_so(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """Two nodes never share a port in silence."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    port = str(free_port())
    with (
        own_node(tmp_path / "one", mlflow_server, GATEWAY_NODE_PORT=port),
        own_node(tmp_path / "two", mlflow_server, GATEWAY_NODE_PORT=port) as second,
    ):
        assert second.status() == 2
        assert second.events("listen_failed")
        assert second.left() == []


async def test_health_and_metrics_are_served_where_the_operator_wants_them(
    tmp_path: Path, mlflow_server: MlflowServer, registered: list[str]
) -> None:
    """For the probes of a pod, and for Prometheus: the models of this node, by the gateway's own names."""
    version = await find_version(mlflow_server.url, "api-sums/1")
    port = free_port()
    with own_node(tmp_path, mlflow_server, GATEWAY_NODE_METRICS_PORT=str(port)) as node:
        async with linked(node.url) as client, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            await client.load(version)
            async with http.get("/health/live") as answer:
                assert answer.status == 200
            async with http.get("/health/ready") as answer:
                assert (await answer.json())["links"] == 1
            async with http.get("/metrics") as answer:
                text = await answer.text()
            assert 'gateway_models_loaded{process="1"} 1.0' in text
            node.send(signal.SIGHUP)
            await node.wait_for("settings_reloaded")
            node.send(signal.SIGTERM)
            await client.wait_for_state(lambda state: state.draining)
        assert await node.exit_status() == 0
