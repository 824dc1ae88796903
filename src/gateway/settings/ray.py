"""The settings of the engine `ray`: which cluster, and which of its nodes get an agent."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from gateway.settings.types import SettingsGroup, expand

_ADDRESS = re.compile(r"auto|(?:ray://)?(?:[^\s/@:]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LABEL = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]*/)?[A-Za-z0-9][A-Za-z0-9_.-]*(?:=[A-Za-z0-9_.-]*)?")


def _check_address(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise ValueError("is neither auto nor HOST:PORT nor ray://HOST:PORT")
    return address


def _check_namespace(namespace: str) -> str:
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError("is not a name of letters, digits, `_`, `.` and `-`")
    return namespace


def _check_label(label: str) -> str:
    if label and not _LABEL.fullmatch(label):
        raise ValueError("is neither KEY nor KEY=VALUE")
    return label


def _check_program(path: Path) -> Path:
    expanded = expand(path)
    if not expanded.is_absolute() or not expanded.is_file():
        raise ValueError("is not the absolute path of a file")
    return expanded


def _check_command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from error
    if not words:
        raise ValueError("has no word")
    return text


class RaySettings(SettingsGroup):
    """How the keeper of the engine `ray` joins a cluster, and what it starts on which nodes."""

    address: Annotated[str, AfterValidator(_check_address)] = Field(
        "auto",
        alias="GATEWAY_RAY_ADDRESS",
        description="Ray cluster that starts and finds node agents. auto: the one that this machine is a "
        "node of; HOST:PORT of its head: the same, if there are several; ray://HOST:PORT: the Ray Client "
        "server of the head, which any machine can use; the interpreter then needs `ray[client]`.",
    )
    namespace: Annotated[str, AfterValidator(_check_namespace)] = Field(
        "gateway",
        alias="GATEWAY_RAY_NAMESPACE",
        description="Ray namespace of the actors that keep the agents. Gateways with the same one share the "
        "agents, and need the same settings of Ray.",
    )
    python: Annotated[Path, AfterValidator(_check_program)] | None = Field(
        None,
        alias="GATEWAY_RAY_PYTHON",
        description="Absolute path of a Python interpreter with the Ray of the cluster: Ray wants the same "
        "version of both everywhere. It needs nothing of the gateway. Default: the gateway's own.",
    )
    node_command: Annotated[str, AfterValidator(_check_command)] = Field(
        "gateway node",
        alias="GATEWAY_RAY_NODE_COMMAND",
        description="Command of a node agent, as it is called on the nodes. It is split into words; no shell "
        "reads it.",
    )
    node_port: int = Field(
        0,
        alias="GATEWAY_RAY_NODE_PORT",
        ge=0,
        le=65535,
        description="TCP port that each agent listens on, at its node's address. 0: any free port.",
    )
    label: Annotated[str, AfterValidator(_check_label)] = Field(
        "",
        alias="GATEWAY_RAY_LABEL",
        description="Label of the nodes that have an agent, KEY or KEY=VALUE, as `ray start --labels` sets "
        "it. Default: all nodes but the head.",
    )

    @property
    def command(self) -> tuple[str, ...]:
        """The words of `node_command`."""
        return tuple(shlex.split(self.node_command))
