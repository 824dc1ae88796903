"""Reports how model versions are served here, and how much memory they use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.pool.load_backoff import LoadBackoff
    from workers.pool.memory_budget import MemoryBudget
    from workers.pool.slots import ModelSlots
    from workers.protocol.messages import ModelKey, RowBatching


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How a version is served here.

    `workers` counts its worker processes that have the model loaded. `row_batching` says whether rows of
    several requests share one call of the model. `waiting` and `running` count its requests. `reason` says
    why its last load failed.
    """

    state: Literal["cold", "loading", "warm", "failed"]
    workers: int = 0
    reason: str | None = None
    row_batching: RowBatching | None = None
    waiting: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Bytes of PSS when last measured. `budget_bytes` None: there is no budget, and nothing is measured.

    `base_bytes` is what the gateway's process, the fork server and the pages shared with it use.
    `model_bytes` is what each loaded model uses alone, and frees when it is unloaded.
    """

    budget_bytes: int | None
    base_bytes: int
    model_bytes: Mapping[ModelKey, int]


def model_status(key: ModelKey, slots: ModelSlots, *, load_backoff: LoadBackoff) -> ModelStatus:
    """Return how one version is served now."""
    if (entry := slots.loaded.get(key)) is not None:
        group = entry.group
        return ModelStatus(
            "warm",
            len(group.pids),
            row_batching=group.load_report.row_batching,
            waiting=group.dispatcher.waiting,
            running=group.dispatcher.running,
        )
    if key in slots.loading:
        return ModelStatus("loading")
    if (failure := load_backoff.active(key)) is not None:
        return ModelStatus("failed", reason=str(failure))
    return ModelStatus("cold")


def memory_report(slots: ModelSlots, budget: MemoryBudget) -> MemoryReport:
    """Return the memory that was in use when it was last measured."""
    limit = budget.limit
    loaded = slots.loaded if limit is not None else {}
    models = {key: entry.group.memory_bytes for key, entry in loaded.items()}
    return MemoryReport(limit, budget.base_bytes, models)
