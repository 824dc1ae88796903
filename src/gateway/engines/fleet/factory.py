"""Builds the engine of a fleet from the settings."""

from __future__ import annotations

import os
import socket
from importlib import metadata
from typing import TYPE_CHECKING, Final

from gateway.catalog.versions import require_ready
from gateway.domain.refs import ModelRef, parse_selector
from gateway.engines.fleet.engine import FleetEngine
from gateway.engines.fleet.limits import FleetLimits
from gateway.engines.fleet.link import Greeting
from gateway.engines.members import DnsMembers, StaticMembers
from gateway.engines.ray.keeper_process import RayMembers
from gateway.engines.transports.tcp_client import TcpConnector, TlsPaths
from gateway.engines.transports.unix_client import UnixConnector
from gateway.errors import GatewayError
from gateway.settings.fleet import DNS_PREFIX, split_address
from gateway.settings.fleet_checks import TokenFileError, read_fleet_token
from workers.protocol.bounds import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.catalog import Catalog
    from gateway.domain.models import ModelVersion
    from gateway.engines.fleet.connector import Connector
    from gateway.engines.members import Members
    from gateway.engines.transports.unix_address import UnixAddress
    from gateway.settings import CurrentSettings, FleetSettings, Settings
    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey


_ANSWER_SECONDS: Final = 2.0  # that a node may be late with its own time limit
_PATIENCE_SECONDS: Final = 5.0
_LOST_SECONDS_HERE: Final = 10.0  # there is no other node, and the supervisor ends one that hangs


def create_engine_of_machine(
    node: UnixAddress, *, current: CurrentSettings, catalog: Catalog, counters: Counters
) -> FleetEngine:
    """Return an engine over the process at `node`, which holds the models of this machine."""
    return create_fleet_engine(
        StaticMembers(("this machine",)),
        UnixConnector(node, max_answer_bytes=max(current.value.max_answer_bytes, MAX_ANSWER_BYTES)),
        current=current,
        catalog=catalog,
        counters=counters,
        has_names=False,
        least_lost_seconds=_LOST_SECONDS_HERE,
        patience_seconds=None,
    )


def create_engine_of_fleet(*, current: CurrentSettings, catalog: Catalog, counters: Counters) -> FleetEngine:
    """Return an engine over the nodes that the settings name, or that Ray starts."""
    fleet = current.value.fleet
    members = ray_members(current.value, counters) if fleet.engine == "ray" else fleet_members(fleet)
    connector = tcp_connector(fleet, max_answer_bytes=current.value.max_answer_bytes)
    return create_fleet_engine(members, connector, current=current, catalog=catalog, counters=counters)


def create_fleet_engine(
    members: Members,
    connector: Connector,
    *,
    current: CurrentSettings,
    catalog: Catalog,
    counters: Counters,
    has_names: bool = True,
    least_lost_seconds: float = 0.0,
    patience_seconds: float | None = _PATIENCE_SECONDS,
) -> FleetEngine:
    """Return an engine over these members, whose loads wait for a node for `patience_seconds`.

    None is as long as a request may take. A node is lost after `least_lost_seconds` at the earliest.
    """

    def limits() -> FleetLimits:
        patience = current.value.request_timeout_seconds if patience_seconds is None else patience_seconds
        return _fleet_limits(current, patience, least_lost_seconds)

    return FleetEngine(
        members,
        connector,
        greeting=Greeting(gateway_name(), metadata.version("model-invocation-endpoint")),
        limits=limits,
        locate=_locate_in(catalog),
        check=_check_in(catalog, current),
        counters=counters,
        has_names=has_names,
    )


def gateway_name() -> str:
    """Return the name of this process for nodes' logs."""
    return f"{socket.gethostname()}:{os.getpid()}"


def fleet_members(fleet: FleetSettings) -> Members:
    """Return the source of the nodes that the settings name."""
    if len(fleet.nodes) == 1 and fleet.nodes[0].startswith(DNS_PREFIX):
        return DnsMembers(*split_address(fleet.nodes[0].removeprefix(DNS_PREFIX)))
    return StaticMembers(fleet.nodes)


def ray_members(settings: Settings, counters: Counters) -> Members:
    """Return the nodes that Ray starts, as a process of its own reports them."""
    return RayMembers(
        settings.ray,
        token=lambda: read_fleet_token(settings.fleet).decode(),
        environment=settings.environment,
        counters=counters,
    )


def tcp_connector(fleet: FleetSettings, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> TcpConnector:
    """Return a connector with the token and the certificates that the settings name."""
    return TcpConnector(
        token=lambda: _read_token(fleet),
        tls=tls_paths(fleet),
        max_answer_bytes=max(max_answer_bytes, MAX_ANSWER_BYTES),
    )


def tls_paths(fleet: FleetSettings) -> TlsPaths | None:
    """Return the files of certificates that the settings name, or None if links are not encrypted."""
    if fleet.tls_ca_file is None:
        return None
    return TlsPaths(fleet.tls_ca_file, fleet.tls_cert_file, fleet.tls_key_file)


def _read_token(fleet: FleetSettings) -> bytes:
    """Return the token for a new link. Raise OSError if its file cannot be used any more."""
    try:
        return read_fleet_token(fleet)
    except TokenFileError as error:
        raise OSError(str(error)) from error


def _fleet_limits(
    current: CurrentSettings, patience_seconds: float, least_lost_seconds: float
) -> FleetLimits:
    settings = current.value
    fleet = settings.fleet
    return FleetLimits(
        replicas=fleet.replicas,
        replicas_max=fleet.replicas_max,
        lost_seconds=max(fleet.lost_seconds, least_lost_seconds),
        retry=fleet.retry,
        request_seconds=settings.request_timeout_seconds + _ANSWER_SECONDS,
        patience_seconds=patience_seconds,
    )


def _locate_in(catalog: Catalog) -> Callable[[ModelKey], Awaitable[ModelVersion | None]]:
    async def locate(key: ModelKey) -> ModelVersion | None:
        """Return the version if it is still READY in MLflow: neither deleted nor recreated."""
        try:
            ref = ModelRef(key.name, parse_selector(key.version))
            version = require_ready(await catalog.get_version(ref))
        except GatewayError:
            return None
        return version if version.key == key else None

    return locate


def _check_in(catalog: Catalog, current: CurrentSettings) -> Callable[[ModelVersion], Awaitable[object]]:
    async def check(version: ModelVersion) -> None:
        """Raise ArtifactLocationForbidden for files of another version, where callers have rights by model.

        The node has settings of its own, and may know of no callers.
        """
        if current.value.effective_source_check == "own":
            await catalog.resolve_uri(version)

    return check
