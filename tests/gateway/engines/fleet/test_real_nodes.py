"""Proves what a gateway does over real nodes: processes that are killed, stopped, full, joined and left."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from gateway.engines.fleet.metrics import NODE_LOSSES, NODE_RETRIES, NODE_SPILLS
from gateway.engines.members import Member
from tests.gateway.serving.test_service import registered_again
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.mlflow_server import free_port
from tests.support.node_client import FLEET_TOKEN, start_node
from tests.support.waiting import poll, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.engines.fleet.engine import FleetEngine
    from gateway.engines.node_report import NodeReport
    from tests.support.gateway_process import Process
    from tests.support.mlflow_server import MlflowServer
    from workers.protocol.messages import ModelKey

SUMS = "/model/api-sums/1/invocation"
PREDICTIONS = [3.0, 7.0]


def engine_of(gateway: Gateway) -> FleetEngine:
    """Return the engine of a gateway that has nodes."""
    engine: Any = gateway.app[COMPONENTS].engine
    return engine  # type: ignore[no-any-return] # the settings of these tests choose it


def reports(gateway: Gateway) -> dict[str, NodeReport]:
    """Return how the gateway sees its nodes, by address."""
    return {report.address: report for report in engine_of(gateway).nodes()}


@asynccontextmanager
async def fleet_at(
    nodes: Sequence[Process | str], server: MlflowServer, folder: Path, **values: str
) -> AsyncIterator[Gateway]:
    """Run a gateway over these nodes, and yield it once it has a link to one of them."""
    addresses = [node if isinstance(node, str) else node.url for node in nodes]
    given = {
        "GATEWAY_ENGINE": "fleet",
        "GATEWAY_FLEET_NODES": ",".join(addresses),
        "GATEWAY_FLEET_TOKEN": FLEET_TOKEN,
        **values,
    }
    async with gateway_at(server.url, folder, **given) as gateway:
        yield gateway


async def connected(gateway: Gateway, count: int) -> None:
    """Wait until the gateway has links to this number of nodes."""
    await until(lambda: sum(report.is_alive for report in reports(gateway).values()) == count)


def holders(gateway: Gateway, name: str) -> list[str]:
    """Return the addresses of the nodes where version 1 of a model is warm."""
    engine = engine_of(gateway)
    return [
        node.member.address
        for node in engine._roster.connected
        if any((key.name, key.version) == (name, "1") for key in node.warm)
    ]


class Load:
    """Clients that send one request after the other, and what each of them got."""

    def __init__(self, gateway: Gateway, path: str = SUMS, *, clients: int = 8) -> None:
        self.statuses: list[int] = []
        self._gateway = gateway
        self._path = path
        self._ends = False
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(clients)]

    async def _ask(self) -> None:
        while not self._ends:
            status, answer = await invoke(self._gateway, self._path)
            self.statuses.append(status)
            assert status != 200 or answer["predictions"] == PREDICTIONS

    async def more(self, count: int) -> None:
        """Wait for this number of further answers."""
        enough = len(self.statuses) + count
        await until(lambda: len(self.statuses) >= enough or any(task.done() for task in self._tasks))

    async def end(self) -> set[int]:
        """Wait for the last answers, and return all statuses."""
        self._ends = True
        await asyncio.gather(*self._tasks)
        return set(self.statuses)


@asynccontextmanager
async def own_nodes(
    server: MlflowServer, folder: Path, count: int, **values: str
) -> AsyncIterator[list[Process]]:
    """Run nodes that a test may end."""
    nodes = []
    try:
        for number in range(count):
            own = folder / f"node-{number}"
            own.mkdir()
            nodes.append(await asyncio.to_thread(start_node, own, server.url, **values))
        yield nodes
    finally:
        for node in nodes:
            with suppress(ProcessLookupError):
                node.send(signal.SIGCONT)
            node.end()


@asynccontextmanager
async def two_under_load(
    server: MlflowServer, folder: Path
) -> AsyncIterator[tuple[list[Process], Gateway, Load]]:
    """Run a gateway over two nodes, of which one gets all requests for the model, however busy it is."""
    async with own_nodes(server, folder, 2) as nodes:
        single = {"GATEWAY_FLEET_REPLICAS_MAX": "1"}
        async with fleet_at(nodes, server, folder / "cache", **single) as gateway:
            await connected(gateway, 2)
            load = Load(gateway)
            await load.more(50)
            yield nodes, gateway, load


@pytest.mark.slow
async def test_a_killed_node_costs_no_request(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """SIGKILL under load: its requests run on the other node, which loads the model."""
    async with two_under_load(mlflow_server, tmp_path) as (nodes, gateway, load):
        (home,) = holders(gateway, "api-sums")
        victim = next(node for node in nodes if node.url == home)
        victim.send_to_group(signal.SIGKILL)
        await load.more(100)
        assert await load.end() == {200}
        assert holders(gateway, "api-sums") == [node.url for node in nodes if node is not victim]
        assert gateway.app[COMPONENTS].counters.value(NODE_LOSSES, home) == 1


@pytest.mark.slow
async def test_a_stopped_node_costs_no_request(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """SIGSTOP under load stands for a partition: after three seconds its requests run on the other node."""
    async with two_under_load(mlflow_server, tmp_path) as (nodes, gateway, load):
        (home,) = holders(gateway, "api-sums")
        stopped = next(node for node in nodes if node.url == home)
        stopped.send(signal.SIGSTOP)
        await load.more(100)
        assert reports(gateway)[home].state == "lost"
        stopped.send(signal.SIGCONT)
        await connected(gateway, 2)
        await load.more(50)
        assert await load.end() == {200}
        assert gateway.app[COMPONENTS].counters.value(NODE_RETRIES) > 0


@pytest.mark.slow
async def test_a_node_without_room_passes_a_model_on(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """One slot a node, and three pinned models: the third gets the error of capacity."""
    names = [registered_again(mlflow_server, "api-sums") for _ in range(3)]
    async with AsyncExitStack() as stack:
        limits = {"GATEWAY_MAX_LOADED_MODELS": "1", "GATEWAY_REQUEST_TIMEOUT_SECONDS": "2"}
        nodes = await stack.enter_async_context(own_nodes(mlflow_server, tmp_path, 2, **limits))
        pinned = ",".join(f"{name}/1" for name in names[:2])
        gateway = await stack.enter_async_context(
            fleet_at(nodes, mlflow_server, tmp_path / "cache", GATEWAY_PINNED_MODELS=pinned)
        )
        components = gateway.app[COMPONENTS]
        await until(lambda: components.pinned.ready)
        assert sorted(holders(gateway, names[0]) + holders(gateway, names[1])) == sorted(
            node.url for node in nodes
        )
        status, answer = await invoke(gateway, f"/model/{names[2]}/1/invocation")
        assert (status, answer["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        spills = [components.counters.value(NODE_SPILLS, node.url) for node in nodes]
        assert all(spills), spills


@pytest.mark.slow
async def test_a_wrong_token_is_refused_and_the_gateway_is_not_ready(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The state says why; requests get 503, and so does `/health/ready`, whose body says it."""
    async with AsyncExitStack() as stack:
        nodes = await stack.enter_async_context(
            own_nodes(mlflow_server, tmp_path, 1, GATEWAY_FLEET_TOKEN="t" * 40)
        )
        gateway = await stack.enter_async_context(
            fleet_at(nodes, mlflow_server, tmp_path / "cache", GATEWAY_FLEET_TOKEN="u" * 40)
        )
        await until(lambda: [report.state for report in reports(gateway).values()] == ["refused"])
        assert "token" in reports(gateway)[nodes[0].url].reason
        status, answer = await invoke(gateway, SUMS)
        assert (status, answer["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        async with gateway.get("/health/ready") as response:
            assert response.status == 503
            assert (await response.json())["nodes"] == {"connected": 0, "known": 1}


@pytest.mark.slow
async def test_the_right_token_is_accepted(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Both sides have it."""
    async with AsyncExitStack() as stack:
        token = {"GATEWAY_FLEET_TOKEN": "t" * 40}
        nodes = await stack.enter_async_context(own_nodes(mlflow_server, tmp_path, 1, **token))
        gateway = await stack.enter_async_context(fleet_at(nodes, mlflow_server, tmp_path / "cache", **token))
        assert (await invoke(gateway, SUMS))[0] == 200


@pytest.mark.slow
async def test_nodes_join_and_leave_under_load(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """A node that is stopped in order answers what it has; one that comes back gets requests again."""
    port = free_port()
    async with AsyncExitStack() as stack:
        nodes = await stack.enter_async_context(own_nodes(mlflow_server, tmp_path, 1))
        late = f"127.0.0.1:{port}"
        gateway = await stack.enter_async_context(
            fleet_at([nodes[0], late], mlflow_server, tmp_path / "cache")
        )
        load = Load(gateway)
        await load.more(50)
        assert reports(gateway)[late].state == "connecting"
        joins = tmp_path / "joins"
        joins.mkdir()
        joined = await asyncio.to_thread(start_node, joins, mlflow_server.url, GATEWAY_NODE_PORT=str(port))
        stack.callback(joined.end)
        await connected(gateway, 2)
        await load.more(50)
        nodes[0].send(signal.SIGTERM)
        await until(lambda: holders(gateway, "api-sums") == [late])
        await load.more(50)
        assert await load.end() == {200}
        assert await nodes[0].exit_status() == 0


async def test_two_gateways_share_a_model(
    two_nodes: list[Process], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """What one has loaded is warm for the other, on the same node."""
    name = registered_again(mlflow_server, "api-sums")
    path = f"/model/{name}/1/invocation"
    async with (
        fleet_at(two_nodes, mlflow_server, tmp_path / "one") as one,
        fleet_at(two_nodes, mlflow_server, tmp_path / "two") as two,
    ):
        await connected(one, 2)
        await connected(two, 2)
        assert (await invoke(one, path))[0] == 200
        await until(lambda: bool(holders(two, name)))
        assert (await invoke(two, path))[0] == 200
        assert holders(one, name) == holders(two, name)
        loads = [node for node in two_nodes for event in node.events("model_loaded") if name in str(event)]
        assert len(loads) == 1


async def test_streams_large_bodies_and_refusals_are_as_without_nodes(
    two_nodes: list[Process], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """Chunks come one by one; large requests and answers take the other lane; errors keep their words."""
    async with fleet_at(two_nodes, mlflow_server, tmp_path) as gateway:
        sent = {"inputs": {"do": "count 3"}}
        async with gateway.post("/model/api-streams/1/invocation?stream=true", json=sent) as response:
            assert response.status == 200
            events = [line for line in (await response.text()).splitlines() if line.startswith("data:")]
        assert len(events) >= 3
        columns = b'{"dataframe_split": {"columns": ["a", "b"], "data": ['
        many = columns + b", ".join([b"[1.0, 2.0]"] * 60_000) + b"]}}"
        assert len(many) > 600_000
        status, answer = await invoke(gateway, SUMS, many)
        assert status == 200
        assert answer["predictions"] == [3.0] * 60_000
        status, answer = await invoke(gateway, SUMS, b'{"dataframe_records": [{"a": "x", "b": 1.0}]}')
        assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert answer["details"][0]["column"] == "a"
        status, answer = await invoke(gateway, "/model/api-broken/1/invocation")
        assert (status, answer["error_code"]) == (424, "INVALID_STATE")


@pytest.mark.slow
async def test_a_client_that_leaves_frees_its_place(
    two_nodes: list[Process], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """The node does not compute for it any more, and the next request is answered."""
    async with fleet_at(two_nodes, mlflow_server, tmp_path) as gateway:
        path = "/model/api-commands/1/invocation"
        sent = {"dataframe_split": {"columns": ["do"], "data": [["sleep 1"]]}}
        async with gateway.post(path, json=sent) as response:
            assert response.status == 200
        running = asyncio.create_task(gateway.post(path, json=sent))
        waiting = asyncio.create_task(gateway.post(path, json=sent))
        await until(lambda: sum(report.in_flight for report in reports(gateway).values()) == 2)
        waiting.cancel()
        running.cancel()
        await asyncio.wait([running, waiting])
        await until(lambda: not any(report.in_flight for report in reports(gateway).values()))
        async with gateway.post(path, json=sent) as response:
            assert response.status == 200


async def test_unloading_reaches_the_node(
    two_nodes: list[Process], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """The version is cold on all nodes, and the next request loads it again."""
    name = registered_again(mlflow_server, "api-sums")
    async with fleet_at(two_nodes, mlflow_server, tmp_path) as gateway:
        await connected(gateway, 2)
        path = f"/model/{name}/1/invocation"
        assert (await invoke(gateway, path))[0] == 200
        key = next(key for key in engine_of(gateway).statuses() if key.name == name)
        await engine_of(gateway).unload(key)
        assert not engine_of(gateway).is_loaded(key)

        async def states() -> set[str]:
            return {node.state.models[key].status.state for node in nodes_with(gateway, key)}

        await poll(states, lambda found: not found)
        assert (await invoke(gateway, path))[0] == 200


def nodes_with(gateway: Gateway, key: ModelKey) -> list[Any]:
    """Return the nodes whose last state has the version."""
    return [node for node in engine_of(gateway)._roster.connected if key in node.state.models]


async def test_a_gateway_of_another_protocol_is_refused(
    two_nodes: list[Process], mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node says which protocols it speaks."""
    monkeypatch.setattr("gateway.engines.wire.protocol.spoken", lambda: "7-9")
    async with fleet_at(two_nodes, mlflow_server, tmp_path) as gateway:
        refused = ["refused", "refused"]
        await until(lambda: [report.state for report in reports(gateway).values()] == refused)
        assert all("7-9" in report.reason for report in reports(gateway).values())


async def test_members_of_a_running_gateway_change(
    two_nodes: list[Process], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """As DNS reports them: the node that left serves what only it has, then the other one does."""
    name = registered_again(mlflow_server, "api-sums")
    async with fleet_at(two_nodes, mlflow_server, tmp_path) as gateway:
        await connected(gateway, 2)
        path = f"/model/{name}/1/invocation"
        assert (await invoke(gateway, path))[0] == 200
        (home,) = holders(gateway, name)
        (other,) = [node.url for node in two_nodes if node.url != home]
        engine_of(gateway)._on_members(frozenset({Member(other, other)}))
        load = Load(gateway, path, clients=2)
        await until(lambda: other in holders(gateway, name))
        await load.more(10)
        assert await load.end() == {200}
