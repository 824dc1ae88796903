"""Proves what `gateway check` says of nodes: of real ones that work, and of those that do not."""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway import settings
from gateway.cli.check_nodes import check_nodes
from tests.support.commands import running
from tests.support.tls import Pki, issue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = secrets.token_urlsafe(32)
NODE = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "GATEWAY_NODE_PORT": "0",
    "GATEWAY_PRELOAD": "none",
    "GATEWAY_FLEET_TOKEN": TOKEN,
}


@contextmanager
def running_node(folder: Path, **values: str) -> Iterator[str]:
    """Run `gateway node`, and give its address."""
    extra = {**NODE, "GATEWAY_CACHE_DIR": str(folder / "cache"), **values}
    with running("node", cwd=folder, extra=extra) as command:
        (listening,) = command.wait_for_event("node_listening")
        yield listening["address"]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[str]:
    """The address of a node that asks for the token."""
    with running_node(tmp_path) as address:
        yield address


async def checked(address: str, **values: str) -> str:
    """Return what is printed of one node."""
    environ = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "GATEWAY_FLEET_NODES": address}
    environ |= {"GATEWAY_ENGINE": "fleet", "GATEWAY_FLEET_TOKEN": TOKEN, **values}
    (result,) = await check_nodes(settings.load(environ))
    return str(result)


async def test_a_gateway_without_a_fleet() -> None:
    """There is nothing to try."""
    assert await check_nodes(settings.load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})) == []


@pytest.mark.slow
async def test_a_node_that_answers(node: str) -> None:
    """It says its version, its protocol, and what it has for models; under a name in DNS as well."""
    port = node.rpartition(":")[2]
    for address in (node, f"localhost:{port}"):
        text = await checked(address)
        assert text.startswith("node             OK "), text
        assert f"{address} answers in " in text
        assert "protocol 1, " in text
        assert "GiB for models" in text
    assert "127.0.0.1:" in await checked(f"dns://localhost:{port}")


@pytest.mark.slow
async def test_another_token(node: str) -> None:
    """The node is reached, and says why it does not accept the gateway."""
    text = await checked(node, GATEWAY_FLEET_TOKEN=secrets.token_urlsafe(32))
    assert text.startswith("node             failed ")
    assert "fix: set GATEWAY_FLEET_TOKEN" in text
    assert TOKEN not in text


async def test_nothing_listens() -> None:
    """The address is right, and no node runs there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        text = await checked(f"127.0.0.1:{unused.getsockname()[1]}")
    assert "nothing listens there" in text
    assert "fix: start `gateway node` there" in text


async def test_a_name_that_does_not_exist() -> None:
    """As an address, and as a name with several."""
    for prefix in ("", "dns://"):
        text = await checked(f"{prefix}no-such-host.invalid:8090")
        assert text.startswith("node             failed ")
        assert "DNS" in text


async def test_a_server_of_another_kind() -> None:
    """It accepts connections, and is no node."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        text = await checked(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert text.startswith("node             failed ")


@pytest.mark.slow
async def test_encryption(tmp_path: Path) -> None:
    """What is missing, on which side: a certificate, an authority of it, or encryption."""
    pki = Pki(tmp_path)
    authority, client = tmp_path / "authority.pem", tmp_path / "client.pem"
    authority.write_bytes(pki.servers.cert_pem.bytes())
    certificate, key = issue(pki.clients, common_name="gateway")
    client.write_bytes(certificate)
    (tmp_path / "client-key.pem").write_bytes(key)
    (tmp_path / "client-key.pem").chmod(0o600)
    own = {"GATEWAY_FLEET_TLS_CERT_FILE": str(pki.cert), "GATEWAY_FLEET_TLS_KEY_FILE": str(pki.key)}
    trusts = {"GATEWAY_FLEET_TLS_CA_FILE": str(authority)}
    shows = {
        "GATEWAY_FLEET_TLS_CERT_FILE": str(client),
        "GATEWAY_FLEET_TLS_KEY_FILE": str(tmp_path / "client-key.pem"),
    }
    with running_node(tmp_path, **own) as address:
        assert " OK " in await checked(address, **trusts)
        assert "fix: the node accepts encrypted links alone" in await checked(address)
        wrong = await checked(address, GATEWAY_FLEET_TLS_CA_FILE=str(pki.client_ca))
        assert "its certificate is not accepted" in wrong
        pki.write_server()
    with running_node(tmp_path, **own, GATEWAY_FLEET_TLS_CA_FILE=str(pki.client_ca)) as address:
        assert " OK " in await checked(address, **trusts, **shows)
        assert "fix: the node may ask for a certificate" in await checked(address, **trusts)
    with running_node(tmp_path) as address:
        assert "fix: the node does not encrypt" in await checked(address, **trusts)
