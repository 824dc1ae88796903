"""Proves what the pages and the API say of the nodes of a fleet, and to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator  # noqa: TC003 - pytest reads the types of fixtures
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from gateway.auth.grants import parse_grants
from gateway.auth.principal import Principal
from gateway.console.nodes import COLUMNS
from tests.support.console_pages import get_html, get_state
from tests.support.gateways import Gateway, gateway_for, invoke
from tests.support.metrics_page import shown
from tests.support.reported_nodes import PlayedNodes, node

if TYPE_CHECKING:
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")
NAMES = ("node-alpha", "node-beta")
READER = {"X-Caller": "reader"}
SECRETS = (*NAMES, "8443", "10.9.8.7")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway with a warm model. Its caller `reader` may read and call, but not see the gateway's state."""
    callers = {"reader": Principal("reader", "keys", parse_grants({"read": "*", "invoke": "*"}))}
    async with gateway_for(callers, mlflow_server.url, tmp_path_factory.mktemp("cache")) as gateway:
        assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
        yield gateway


@pytest.fixture
def fleet(own: Gateway, monkeypatch: pytest.MonkeyPatch) -> PlayedNodes:
    """Two nodes, of which one is lost."""
    played = PlayedNodes(node(NAMES[0]), node(NAMES[1], "lost"))
    played.put_into(own, monkeypatch)
    return played


async def test_the_table_of_nodes(own: Gateway, fleet: PlayedNodes) -> None:
    """Without scripts: name, state in words, reason, memory as a text and a bar with a name."""
    _, html = await get_html(own, "/ui/gateway")
    for text in (*SECRETS, "connected", "lost", "300 MiB of 2.0 GiB", "✕ 1 of 2 nodes connected"):
        assert text in html, text
    assert 'aria-label="Memory in use on node-alpha"' in html
    assert "No node of the fleet is connected" not in html


async def test_rows_are_live(own: Gateway, fleet: PlayedNodes) -> None:
    """What is polled has each node's texts in the order of the columns."""
    state = await _state(own, "view=gateway")
    rows = {address: dict(zip(COLUMNS, row, strict=True)) for address, row in state["nodes"].items()}
    assert {address: row["state"] for address, row in rows.items()} == {
        "node-alpha:8443": "connected",
        "node-beta:8443": "lost",
    }
    assert state["fields"]["nodes"] == "✕ 1 of 2 nodes connected"


async def test_a_banner_if_no_node_is_connected(own: Gateway, fleet: PlayedNodes) -> None:
    """Every caller reads it; it has no name of a node."""
    fleet.reports = tuple(node(name, "lost") for name in NAMES)
    for headers in ({}, READER):
        state = await _state(own, f"view=models&n={len(headers)}", **headers)
        assert "No node of the fleet is connected" in state["banner"]
        assert not any(name in state["banner"] for name in SECRETS)


async def test_nodes_are_for_those_who_may_see_the_gateway(own: Gateway, fleet: PlayedNodes) -> None:
    """Others learn neither their names nor their number, by no page, no state and no answer."""
    paths = ("/", "/ui/models/api-sums", "/ui/models/api-sums/1", "/ui/events", "/model/api-sums/1")
    queries = ("view=gateway", "view=models", "view=events", "view=version&name=api-sums&version=1")
    for path in (*paths, *(f"/console/state?{query}&after=" for query in queries)):
        status, text = await get_html(own, path, **READER)
        assert status == 200
        assert not [secret for secret in (*SECRETS, "nodes connected") if secret in text], path


async def test_where_a_version_is_warm(own: Gateway, fleet: PlayedNodes) -> None:
    """The page of a version and its JSON name the nodes; a gateway without a fleet names none."""
    query = "view=version&name=api-sums&version=1"
    assert (await _state(own, query))["fields"]["version:nodes"] == "node-alpha"
    _, html = await get_html(own, "/ui/models/api-sums/1")
    assert "Nodes that have it warm" in html
    assert (await _serving(own))["nodes"] == ["node-alpha"]
    assert "nodes" not in await _serving(own, **READER)
    fleet.reports = ()
    assert "nodes" not in await _serving(own)
    _, html = await get_html(own, "/ui/models/api-sums/1")
    assert "Nodes that have it warm" not in html


async def test_a_gateway_without_a_fleet(own: Gateway) -> None:
    """It has no table, no text and no series of nodes."""
    _, html = await get_html(own, "/ui/gateway")
    assert 'data-table="nodes"' not in html
    assert (await _state(own, "view=gateway&n=1"))["nodes"] == {}
    assert "gateway_node_up{" not in await _metrics(own)


async def test_series_of_nodes(own: Gateway, fleet: PlayedNodes) -> None:
    """A node that was never reached has no memory, rather than none in use."""
    page = await shown(own)
    assert [page.of("gateway_node_up", node=name) for name in NAMES] == [1, 0]
    assert page.of("gateway_node_memory_limit_bytes", node=NAMES[0]) == 2 * 2**30
    lines = (await _metrics(own)).splitlines()
    assert not [line for line in lines if line.startswith("gateway_node_memory") and NAMES[1] in line]


async def _state(gateway: Gateway, query: str, **headers: str) -> Any:
    status, state = await get_state(gateway, query, **headers)
    assert status == 200
    return state


async def _serving(gateway: Gateway, **headers: str) -> Any:
    async with gateway.get("/model/api-sums/1", headers=headers) as answer:
        return (await answer.json())["serving"]


async def _metrics(gateway: Gateway) -> str:
    async with gateway.get("/metrics") as answer:
        return await answer.text()
