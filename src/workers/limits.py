"""How much the pool may hold and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Preload = Literal["full", "lean", "none"]
"""What the fork server imports before it forks workers: all model libraries, a few, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """`idle_seconds` 0 means that idle models stay; all other times are in seconds too, and positive.

    A request's time counts from the moment its model is warm; loading has its own. A stream has a
    request's time for each chunk, and `stream_seconds` for all of them (0: as long as it takes).
    `loads_at_once` is how many loads begin together; one that takes long lets others begin beside it.
    `memory_bytes` is for all processes together, the gateway's own too, as PSS; None: whatever there is.
    """

    workers_per_model: int = 1
    max_loaded_models: int = 20
    max_concurrent_loads: int = 2
    memory_bytes: int | None = None
    max_queue: int = 1024
    idle_seconds: float = 900.0
    request_seconds: float = 60.0
    stream_seconds: float = 600.0
    load_seconds: float = 300.0
