"""One step of the history: what all gateway processes did together in five seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

STEP_SECONDS: Final = 5
MAX_VERSIONS: Final = 200
"""The most model versions that one step has figures of."""


@dataclass(slots=True)
class VersionFigures:
    """A version's prediction requests and failures in one step, and the latencies of those that succeeded.

    `latencies` has the number of requests in each bucket of `BUCKET_BOUNDS`.
    """

    model: str
    version: str
    requests: int
    errors: int
    latencies: list[int]


@dataclass(slots=True)
class Step:
    """The figures of the `seconds` until `time`, in seconds since the epoch.

    `requests` counts prediction requests by class of status, `refused` the requests refused for a limit.
    `waiting` and the bytes of memory are those at its end. `model_memory` has triples of model, version and
    bytes.
    """

    time: int
    seconds: float
    requests: dict[str, int] = field(default_factory=dict)
    latencies: list[int] = field(default_factory=list)
    refused: int = 0
    waiting: int = 0
    base_memory: int = 0
    memory_limit: int | None = None
    model_memory: list[tuple[str, str, int]] = field(default_factory=list)
    versions: list[VersionFigures] = field(default_factory=list)


def encode_steps(steps: list[Step]) -> bytes:
    """Return the steps as bytes for other processes."""
    return orjson.dumps(steps)


def decode_steps(content: bytes) -> list[Step]:
    """Return the steps that `encode_steps` encoded."""
    return [_to_step(each) for each in orjson.loads(content)]


def _to_step(fields: dict[str, Any]) -> Step:
    versions = [VersionFigures(**each) for each in fields.pop("versions")]
    memory = [(model, version, size) for model, version, size in fields.pop("model_memory")]
    return Step(**fields, versions=versions, model_memory=memory)
