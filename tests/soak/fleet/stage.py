"""Where the soak over a fleet takes place: MLflow, two gateways, three nodes, and a stranger's address."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.soak.fleet.member import Member
from tests.soak.fleet.wire import Wire
from tests.soak.stage import logged, new_session
from tests.support.mlflow_server import free_port, mlflow_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from tests.soak.artifacts import Artifact
    from tests.soak.options import Options
    from tests.support.mlflow_server import MlflowServer

GATEWAYS: Final = 2
NODES: Final = 3
SMALL_PLACES: Final = 2


@dataclass(frozen=True, slots=True)
class FleetStage:
    """Everything that runs beside the soak's own process.

    Gateways find the first node by `wire`; the last one has place for a few models only. `stranger` has
    another token; it is a member for the gateways, and does not run but as a fault.
    """

    mlflow: MlflowServer
    artifacts: list[Artifact]
    nodes: list[Member]
    gateways: list[Member]
    stranger: Member
    wire: Wire
    sessions: list[aiohttp.ClientSession]
    link_ports: frozenset[int]

    @property
    def members(self) -> list[Member]:
        """All processes of the fleet, gateways first."""
        return [*self.gateways, *self.nodes, self.stranger]


@asynccontextmanager
async def fleet_stage(folder: Path, options: Options) -> AsyncIterator[FleetStage]:
    """All of it, ended in the reverse order."""
    (folder / "mlflow").mkdir()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(mlflow_server(folder / "mlflow"))
        artifacts = await asyncio.to_thread(logged, server)
        common = _common(server.url, options)
        ports = [free_port() for _ in range(NODES + 1 + GATEWAYS)]
        addresses = [f"127.0.0.1:{port}" for port in ports]
        nodes = [_node(n, folder, common, port=ports[n], options=options) for n in range(NODES)]
        other = common | {"GATEWAY_FLEET_TOKEN": secrets.token_hex(24)}
        stranger = _member("stranger", folder, other, program="node", GATEWAY_NODE_PORT=str(ports[NODES]))
        wire = Wire(addresses[0])
        await wire.open()
        stack.push_async_callback(wire.cut)
        known = ",".join([wire.address, *addresses[1 : NODES + 1]])
        settings = common | {"GATEWAY_ENGINE": "fleet", "GATEWAY_FLEET_NODES": known}
        gateways = [
            _member(f"gateway-{n}", folder, settings, program="serve", GATEWAY_PORT=str(port))
            for n, port in enumerate(ports[NODES + 1 :])
        ]
        for member in (*nodes, stranger, *gateways):
            stack.callback(member.end)
        await asyncio.gather(*(member.start() for member in (*nodes, *gateways)))
        sessions = [await stack.enter_async_context(new_session(gateway.process.url)) for gateway in gateways]
        link_ports = frozenset(
            int(address.rpartition(":")[2]) for address in (wire.address, *addresses[:NODES])
        )
        yield FleetStage(server, artifacts, nodes, gateways, stranger, wire, sessions, link_ports)


def _common(mlflow_url: str, options: Options) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": mlflow_url,
        "GATEWAY_FLEET_TOKEN": secrets.token_hex(24),
        "GATEWAY_LOG_FORMAT": "json",
        "GATEWAY_MEMORY_BUDGET_BYTES": str(options.memory_budget),
        "GATEWAY_CATALOG_TTL_SECONDS": f"{options.ttl_seconds:g}",
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": f"{options.request_seconds:g}",
        "GATEWAY_MAX_QUEUE": str(options.max_queue),
        "GATEWAY_MAX_BODY_BYTES": str(options.max_body),
        "GATEWAY_IDLE_SECONDS": f"{options.idle_seconds:g}",
        "GATEWAY_WORKERS_PER_MODEL": "1",
    }


def _node(number: int, folder: Path, common: dict[str, str], *, port: int, options: Options) -> Member:
    places = SMALL_PLACES if number == NODES - 1 else options.max_loaded
    values = {"GATEWAY_NODE_PORT": str(port), "GATEWAY_MAX_LOADED_MODELS": str(places)}
    return _member(f"node-{number}", folder, common, program="node", **values)


def _member(name: str, folder: Path, values: dict[str, str], *, program: str, **more: str) -> Member:
    return Member(name, folder, values | more, program=program)
