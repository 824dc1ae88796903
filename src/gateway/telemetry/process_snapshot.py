"""What one gateway process knows of itself at one moment, in a form that the other processes can read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from gateway.engines.node_report import NodeReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

State = Literal["cold", "loading", "warm", "failed"]
FIGURES = (
    "pid",
    "running_seconds",
    "lag_seconds",
    "in_flight",
    "mlflow_away_since",
    "budget_bytes",
    "base_bytes",
    "cache_downloads",
    "cache_downloaded_bytes",
    "cache_evictions",
    "stale_answers",
)
"""The numbers of a process; `mlflow_away_since` is in seconds since 1970, and 0 if MLflow answers."""


@dataclass(frozen=True, slots=True)
class VersionState:
    """How a version is served by one process; `memory_bytes` is 0 if nothing was measured."""

    name: str
    version: str
    state: State
    workers: int = 0
    waiting: int = 0
    running: int = 0
    memory_bytes: int = 0
    reason: str = ""
    pinned: bool = False
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """The state of one gateway process: its figures, its versions, and the nodes that it knows.

    Processes that know nodes share the models there: what each of them says of memory and models is said of
    the same ones.
    """

    process: int
    figures: Mapping[str, float]
    versions: tuple[VersionState, ...] = ()
    nodes: tuple[NodeReport, ...] = ()

    def encode(self) -> bytes:
        """Return the snapshot as bytes."""
        versions = list(map(_VERSION_FIELDS, self.versions))
        nodes = list(map(_NODE_FIELDS, self.nodes))
        return orjson.dumps((self.process, self.figures, versions, nodes))


_VERSION_FIELDS: Final = attrgetter(*(field.name for field in fields(VersionState)))
_NODE_FIELDS: Final = attrgetter(*(field.name for field in fields(NodeReport)))


def decode(content: bytes) -> ProcessSnapshot:
    """Return the snapshot that `ProcessSnapshot.encode` encoded."""
    process, figures, versions, nodes = orjson.loads(content)
    return ProcessSnapshot(process, figures, tuple(map(_version, versions)), tuple(map(_node, nodes)))


def _version(values: Sequence[Any]) -> VersionState:
    *others, nodes = values
    complete = *others, tuple(nodes)
    return VersionState(*complete)


def _node(values: Sequence[Any]) -> NodeReport:
    name, address, state, since, *others = values
    return NodeReport(name, address, state, datetime.fromisoformat(since), *others)
