"""The settings of a fleet: the nodes that load models for gateways, and the node that this process may be."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from gateway.settings.types import (
    MIN_KEY_LENGTH,
    CommaSeparated,
    ExpandedPath,
    PositiveInt,
    PositiveSeconds,
    SettingsGroup,
)

EngineName = Literal["local", "fleet", "ray"]

DNS_PREFIX: Final = "dns://"
_HOST_AND_PORT: Final = re.compile(r"(?:\[([^\s\[\]/]+)\]|([^\s\[\]/:,]+)):(\d{1,5})", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{0,255}", re.ASCII)


def split_address(text: str) -> tuple[str, int]:
    """Return the host and the port of `host:port` or `[IPv6]:port`; raise ValueError for anything else."""
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise ValueError(f"{text!r} is not of the form host:port")
    return match[1] or match[2], int(match[3])


def is_fleet_token(text: str) -> bool:
    """Return whether a text can be sent as a token: it has visible ASCII characters alone."""
    return re.fullmatch(r"[\x21-\x7e]+", text) is not None


def _check_nodes(words: tuple[str, ...]) -> tuple[str, ...]:
    if len(words) > 1 and any(word.startswith(DNS_PREFIX) for word in words):
        raise ValueError(f"has {DNS_PREFIX} among other addresses: it must be the only one")
    for word in words:
        split_address(word.removeprefix(DNS_PREFIX))
    if len(set(words)) < len(words):
        raise ValueError("names a node twice")
    return words


def _check_host(host: str) -> str:
    if not host or re.search(r"[\s/,\[\]]", host):
        raise ValueError(f"{host!r} is not an address or a name without a port, which is GATEWAY_NODE_PORT")
    return host


def _check_token(token: SecretStr) -> SecretStr:
    length = len(token.get_secret_value())
    if 0 < length < MIN_KEY_LENGTH:
        raise ValueError(f"has {length} characters, but must have at least {MIN_KEY_LENGTH} random ones")
    if length and not is_fleet_token(token.get_secret_value()):
        raise ValueError("must have no spaces, no control characters, and no letters beyond ASCII")
    return token


Nodes = Annotated[CommaSeparated, AfterValidator(_check_nodes)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
Port = Annotated[int, Field(ge=0, le=65535)]


class FleetSettings(SettingsGroup):
    """Where models run, and how gateways and nodes find and trust each other."""

    engine: EngineName = Field(
        "local",
        alias="GATEWAY_ENGINE",
        description="Where models run. local: in workers of this machine, which the gateway starts; fleet: "
        "on the nodes of GATEWAY_FLEET_NODES, each of which runs `gateway node`; ray: on the nodes of a Ray "
        "cluster.",
    )
    nodes: Nodes = Field(
        (),
        validate_default=True,
        alias="GATEWAY_FLEET_NODES",
        description="The nodes of the fleet, comma-separated: `10.0.0.1:8090,10.0.0.2:8090`. Or "
        "`dns://name:port`: all addresses that the name has, looked up again every few seconds.",
    )
    token: Token = Field(
        SecretStr(""),
        alias="GATEWAY_FLEET_TOKEN",
        description="Secret of at least 32 random characters: both ends of a link prove that they have it, "
        "and never send it. Both start without one only if they show each other certificates.",
    )
    token_file: ExpandedPath | None = Field(
        None,
        alias="GATEWAY_FLEET_TOKEN_FILE",
        description="File with that secret, in place of GATEWAY_FLEET_TOKEN. No other user may read it.",
    )
    tls_ca_file: ExpandedPath | None = Field(
        None,
        alias="GATEWAY_FLEET_TLS_CA_FILE",
        description="PEM file of the authorities that sign the certificates of nodes and gateways. On a "
        "gateway, links are encrypted if it is set; on a node, gateways must show a certificate of theirs.",
    )
    tls_cert_file: ExpandedPath | None = Field(
        None,
        validate_default=True,
        alias="GATEWAY_FLEET_TLS_CERT_FILE",
        description="PEM file of the certificate that this node or gateway shows to the other side. A node "
        "with one accepts encrypted links alone.",
    )
    tls_key_file: ExpandedPath | None = Field(
        None,
        validate_default=True,
        alias="GATEWAY_FLEET_TLS_KEY_FILE",
        description="PEM file of its private key, without a password. No other user may read it.",
    )
    retry: bool = Field(
        default=True,
        alias="GATEWAY_FLEET_RETRY",
        description="true: a request whose node is lost runs once more on another node, so its prediction "
        "may run twice; false: it is answered with 500.",
    )
    replicas: PositiveInt = Field(
        1,
        alias="GATEWAY_FLEET_REPLICAS",
        description="On how many nodes each model is loaded at least, once it is used.",
    )
    replicas_max: Annotated[int, Field(ge=0)] = Field(
        0,
        validate_default=True,
        alias="GATEWAY_FLEET_REPLICAS_MAX",
        description="On how many nodes a model is loaded at most if its workers are busy. 0: on all.",
    )
    lost_seconds: PositiveSeconds = Field(
        3,
        alias="GATEWAY_FLEET_LOST_SECONDS",
        description="A node that says nothing for this long is taken for lost, in seconds. It says something "
        "every second.",
    )

    @property
    def has_token(self) -> bool:
        """Whether gateways show a token to nodes."""
        return bool(self.token.get_secret_value()) or self.token_file is not None

    @property
    def has_mutual_tls(self) -> bool:
        """Whether both sides show certificates."""
        return self.tls_ca_file is not None and self.tls_cert_file is not None

    @field_validator("nodes")
    @classmethod
    def _check_nodes(cls, nodes: Nodes, info: ValidationInfo) -> Nodes:
        if info.data.get("engine") == "fleet" and not nodes:
            raise ValueError("must name the nodes, such as 10.0.0.1:8090, because GATEWAY_ENGINE is fleet")
        return nodes

    @field_validator("token_file")
    @classmethod
    def _check_token_file(cls, path: object, info: ValidationInfo) -> object:
        token = info.data.get("token")
        if path is not None and token is not None and token.get_secret_value():
            raise ValueError("must not be set together with GATEWAY_FLEET_TOKEN")
        return path

    @field_validator("tls_key_file")
    @classmethod
    def _check_key_file(cls, path: object, info: ValidationInfo) -> object:
        if (path is None) != (info.data.get("tls_cert_file") is None):
            raise ValueError("must be set together with GATEWAY_FLEET_TLS_CERT_FILE")
        return path

    @field_validator("replicas_max")
    @classmethod
    def _check_replicas_max(cls, most: int, info: ValidationInfo) -> int:
        if 0 < most < (least := info.data.get("replicas", 1)):
            raise ValueError(f"is {most}, but GATEWAY_FLEET_REPLICAS is {least}")
        return most


class NodeSettings(SettingsGroup):
    """What `gateway node` listens on, and its name."""

    host: Annotated[str, AfterValidator(_check_host)] = Field(
        "127.0.0.1",
        alias="GATEWAY_NODE_HOST",
        description="Address that `gateway node` listens on for gateways. 0.0.0.0 or ::: all interfaces.",
    )
    port: Port = Field(
        8090,
        alias="GATEWAY_NODE_PORT",
        description="TCP port that `gateway node` listens on for gateways. 0: any free port.",
    )
    chosen_name: str = Field(
        "",
        alias="GATEWAY_NODE_NAME",
        pattern=_NAME,
        description="Name of the node, by which models are placed, and in its logs. Default: its address and "
        "port; where it listens on all interfaces, the machine's name and the port.",
    )
    metrics_port: Port = Field(
        0,
        alias="GATEWAY_NODE_METRICS_PORT",
        description="TCP port on which `gateway node` answers /health/live, /health/ready and /metrics by "
        "HTTP, on GATEWAY_NODE_HOST. 0: none.",
    )
