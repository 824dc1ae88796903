"""What a fleet needs of the settings: a token or certificates, since models of a machine can connect too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.settings.fleet import is_fleet_token
from gateway.settings.types import MIN_KEY_LENGTH
from gateway.system.trusted_files import UntrustedFileError, read_trusted_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.fleet import FleetSettings
    from gateway.settings.schema import Settings

_HOW: Final = (
    f"set GATEWAY_FLEET_TOKEN to a secret of {MIN_KEY_LENGTH} characters or more, the same on all nodes and "
    "gateways, or give each side a certificate by GATEWAY_FLEET_TLS_CA_FILE, GATEWAY_FLEET_TLS_CERT_FILE and "
    "GATEWAY_FLEET_TLS_KEY_FILE"
)


class TokenFileError(Exception):
    """GATEWAY_FLEET_TOKEN_FILE cannot be used; the text says why."""


def read_fleet_token(fleet: FleetSettings) -> bytes:
    """Return the token that gateways show to nodes, empty if there is none. Raise TokenFileError."""
    if fleet.token_file is None:
        return fleet.token.get_secret_value().encode()
    try:
        token = read_trusted_file(fleet.token_file, private=True).strip()
    except UntrustedFileError as error:
        raise TokenFileError(f"GATEWAY_FLEET_TOKEN_FILE is not read: {error}") from error
    except OSError as error:
        raise TokenFileError(f"GATEWAY_FLEET_TOKEN_FILE cannot be read: {error.strerror}") from error
    if len(token) < MIN_KEY_LENGTH or not is_fleet_token(token.decode(errors="replace")):
        raise TokenFileError(
            f"GATEWAY_FLEET_TOKEN_FILE must hold one word of at least {MIN_KEY_LENGTH} ASCII characters"
        )
    return token


def fleet_problems(settings: Settings) -> Iterator[str]:
    """Yield a line for each contradiction between the settings of a fleet."""
    fleet = settings.fleet
    if fleet.engine == "local":
        return
    if not (fleet.has_token or fleet.has_mutual_tls):
        yield f"GATEWAY_ENGINE: is {fleet.engine}, and nodes ask who connects: {_HOW}"
    if fleet.tls_cert_file is not None and fleet.tls_ca_file is None:
        yield "GATEWAY_FLEET_TLS_CA_FILE: must name the authorities of the nodes' certificates"
    yield from token_problems(fleet)


def node_problems(settings: Settings) -> Iterator[str]:
    """Yield a line for each reason why `gateway node` does not start with these settings."""
    fleet, node = settings.fleet, settings.node
    if not (fleet.has_token or fleet.has_mutual_tls):
        yield f"GATEWAY_NODE_HOST: models of this machine, or others, can connect to {node.host}: {_HOW}"
    if fleet.tls_ca_file is not None and fleet.tls_cert_file is None:
        yield "GATEWAY_FLEET_TLS_CERT_FILE: a node that asks for certificates must have one itself"
    if node.port and node.port == node.metrics_port:
        yield "GATEWAY_NODE_METRICS_PORT: is GATEWAY_NODE_PORT"
    yield from token_problems(fleet)


def token_problems(fleet: FleetSettings) -> Iterator[str]:
    """Yield a line if the token's file cannot be used."""
    try:
        read_fleet_token(fleet)
    except TokenFileError as error:
        yield str(error)
