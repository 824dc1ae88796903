"""The checks of `gateway check` for the nodes of a fleet: address, encryption, token and protocol of each."""

from __future__ import annotations

import asyncio
import socket
import ssl
from importlib import metadata
from typing import TYPE_CHECKING, Final

from gateway.cli.check_result import CheckResult
from gateway.cli.node_probe import ProbeError, check_connection, check_encryption, find_encryption, probe
from gateway.engines.fleet.factory import tcp_connector
from gateway.engines.members import Member, look_up_addresses
from gateway.settings.fleet import DNS_PREFIX, split_address
from gateway.settings.fleet_checks import TokenFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cli.node_probe import ProbedNode
    from gateway.engines.fleet.connector import Connector
    from gateway.settings import FleetSettings, Settings

_SUBJECT: Final = "node"
_MAX_NODES: Final = 100
_AT_ONCE: Final = 10
_START: Final = (
    "start `gateway node` there, with GATEWAY_NODE_HOST an address that gateways reach, and GATEWAY_NODE_PORT"
)
_ROUTE: Final = "check the address, and that firewalls and network policies let gateways reach this port"
_ENCRYPT: Final = (
    "the node accepts encrypted links alone: set GATEWAY_FLEET_TLS_CA_FILE to the authority of its "
    "certificate"
)
_DO_NOT_ENCRYPT: Final = (
    "the node does not encrypt: set GATEWAY_FLEET_TLS_CERT_FILE and GATEWAY_FLEET_TLS_KEY_FILE there, or "
    "leave GATEWAY_FLEET_TLS_CA_FILE out here"
)
_SHOW: Final = (
    "the node may ask for a certificate: set GATEWAY_FLEET_TLS_CERT_FILE and GATEWAY_FLEET_TLS_KEY_FILE to "
    "one of the authority that GATEWAY_FLEET_TLS_CA_FILE of the node names"
)
_SAME_TOKEN: Final = (
    "set GATEWAY_FLEET_TOKEN, or GATEWAY_FLEET_TOKEN_FILE, to the same secret on node and gateway"  # noqa: S105 - no secret
)
_UPDATE: Final = "update the older one of the two: a version speaks its own protocol and the one before"


async def check_nodes(settings: Settings) -> list[CheckResult]:
    """Return a result for each node that the settings name; none if models run on this machine."""
    fleet = settings.fleet
    if fleet.engine == "local":
        return []
    if fleet.engine == "ray":
        text = "not tried: the Ray cluster says where they are once the gateway runs"
        return [CheckResult(_SUBJECT, ok=True, text=text)]
    try:
        members = await _find_members(fleet)
    except OSError as error:
        fix = "check GATEWAY_FLEET_NODES, and that this machine asks the right DNS server"
        text = f"{fleet.nodes[0]}: no address was found: {error.strerror}"
        return [CheckResult(_SUBJECT, ok=False, text=text, fix=fix)]
    turns = asyncio.Semaphore(_AT_ONCE)
    connector = tcp_connector(fleet)

    async def check_in_turn(member: Member) -> CheckResult:
        async with turns:
            return await _check_node(member, fleet, connector)

    results = list(await asyncio.gather(*map(check_in_turn, members[:_MAX_NODES])))
    if len(members) > _MAX_NODES:
        text = f"{len(members) - _MAX_NODES} more nodes were not tried"
        results.append(CheckResult(_SUBJECT, ok=True, text=text))
    return results


async def _find_members(fleet: FleetSettings) -> Sequence[Member]:
    """Return the nodes of the settings. Raise OSError if their name in DNS has no address."""
    first = fleet.nodes[0]
    if not first.startswith(DNS_PREFIX):
        return [Member(address, address) for address in fleet.nodes]
    name, port = split_address(first.removeprefix(DNS_PREFIX))
    return [Member(address, address, name) for address in sorted(await look_up_addresses(name, port))]


async def _check_node(member: Member, fleet: FleetSettings, connector: Connector) -> CheckResult:
    """Try one step after the other; the first that fails says what to do."""
    host, port = split_address(member.address)
    name = member.tls_name or host
    try:
        await check_connection(host, port)
        if fleet.tls_ca_file is not None:
            await check_encryption(host, port, name, fleet)
        return _success(member, await probe(member, connector))
    except ProbeError as error:
        text, fix = str(error), await _fix(error, host, port, fleet)
    except (OSError, TokenFileError) as error:
        text, fix = _explain(error, name)
    return CheckResult(_SUBJECT, ok=False, text=f"{member.address}: {text}", fix=fix)


def _explain(error: Exception, name: str) -> tuple[str, str]:
    """Return why there is no connection to the node with this name, and what to do."""
    match error:
        case socket.gaierror():
            text, fix = str(error.strerror), "check the name in GATEWAY_FLEET_NODES, and DNS"
        case ssl.SSLCertVerificationError():
            text = f"its certificate is not accepted: {error.verify_message}"
            fix = f"it must name {name}, be valid today, and have an authority of GATEWAY_FLEET_TLS_CA_FILE"
        case ssl.SSLError():
            text, fix = f"no encrypted link: {error.reason or error}", _DO_NOT_ENCRYPT
        case ConnectionRefusedError():
            text, fix = "nothing listens there", _START
        case TimeoutError():
            text, fix = "no answer", _ROUTE
        case _:
            text, fix = str(error), ""
    return text, fix


async def _fix(error: ProbeError, host: str, port: int, fleet: FleetSettings) -> str:
    """Return what to do about a link that a reachable node did not accept, or ended."""
    if error.refused:
        return _UPDATE if "protocol" in str(error) else _SAME_TOKEN
    if fleet.tls_ca_file is None:
        return _ENCRYPT if await find_encryption(host, port) else ""
    return _SHOW if fleet.tls_cert_file is None else ""


def _success(member: Member, node: ProbedNode) -> CheckResult:
    own, hello = metadata.version("model-invocation-endpoint"), node.hello
    memory = "no limit of memory"
    if hello.memory_budget_bytes is not None:
        memory = f"{hello.memory_budget_bytes / 2**30:.1f} GiB for models"
    text = f"{member.address} answers in {1000 * node.round_trip_seconds:.1f} ms: version {hello.product}, "
    text += f"protocol {hello.protocol}, {hello.cores} cores, {memory}"
    fix = "" if hello.product == own else f"this gateway is version {own}: update the older one of the two"
    return CheckResult(_SUBJECT, ok=True, text=text, fix=fix)
