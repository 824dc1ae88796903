"""The limits of a pool: how much it may hold and how long its work may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Preload = Literal["full", "lean", "none"]
"""What the fork server imports before it forks workers: all model libraries, a few, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """A set of limits. All times are in seconds and positive, except that two may be 0.

    `max_concurrent_loads`: how many loads start together. A load that takes long lets others start.
    `memory_bytes`: PSS of all processes together, the gateway's included. None: no limit.
    `max_queue`: requests that may wait for one model version.
    `idle_seconds`: a model without requests for this time is unloaded. 0: never.
    `request_seconds`: time for one request, from the moment its model is loaded, and for one chunk of a
    stream.
    `stream_seconds`: time for a whole stream. 0: no limit.
    `environments_running`: Python environments other than the gateway's own that have processes at a time.
    `max_answer_bytes`: the answers to a batch of requests together, or one chunk of a stream. This limit
    follows the settings at once, the others when a model is loaded.
    `load_seconds`: time for loading a model, once its files are on this machine.
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
    max_answer_bytes: int = 2**28
    environments_running: int = 4
