"""How model versions are served here, and what they take of the memory: for those who look on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.protocol.messages import ModelKey, RowBatching


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How a version is served here.

    `workers` are its warm processes, `merging` says whether rows of several requests share a call of
    the model there, `reason` why it failed; `waiting` and `running` are the requests there.
    """

    state: Literal["cold", "loading", "warm", "failed"]
    workers: int = 0
    reason: str | None = None
    row_batching: RowBatching | None = None
    waiting: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Bytes of PSS: the budget (None: there is none), and what was taken of it when last measured.

    `own` is the gateway's process, the workers' template and what they share with it; `models` is what
    each loaded model has for itself, and gives back when it is unloaded.
    """

    budget_bytes: int | None
    base_bytes: int
    model_bytes: Mapping[ModelKey, int]
