"""Reports how model versions are served here, and how much memory they use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.devices.inventory import DeviceMemory
    from workers.devices.shares import DeviceShares
    from workers.pool.device_allocation import DeviceAllocator
    from workers.pool.load_backoff import LoadBackoff
    from workers.pool.memory_budget import MemoryBudget
    from workers.pool.slots import ModelSlots
    from workers.protocol.messages import ModelKey, RowBatching
    from workers.scheduler.worker_group import WorkerGroup


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """The GPU that a model has a share of, in thousandths, and the bytes of its memory, if that is known."""

    uuid: str
    share: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How a version is served here.

    `workers` counts its worker processes that have the model loaded. `row_batching` says whether rows of
    several requests share one call of the model. `device` is its GPU, if it has one. `waiting` and
    `running` count its requests. `reason` says why its last load failed. `nodes` names the nodes of a fleet
    that have it warm, sorted; it is empty where models run on this machine alone.
    """

    state: Literal["cold", "loading", "warm", "failed"]
    workers: int = 0
    reason: str | None = None
    row_batching: RowBatching | None = None
    device: DeviceUse | None = None
    waiting: int = 0
    running: int = 0
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """A GPU: the thousandths of it that models have, and its memory when last measured, if known."""

    uuid: str
    name: str
    shares_taken: int
    memory: DeviceMemory | None


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Bytes of PSS when last measured. `budget_bytes` None: there is no budget, and nothing is measured.

    `base_bytes` is what the gateway's process, the fork servers and the pages shared with them use;
    `environment_bytes` is the part of it that each environment's fork server uses, by the digest.
    `model_bytes` is what each loaded model uses alone, and frees when it is unloaded.
    """

    budget_bytes: int | None
    base_bytes: int
    model_bytes: Mapping[ModelKey, int]
    environment_bytes: Mapping[str, int]


def model_status(
    key: ModelKey, slots: ModelSlots, *, load_backoff: LoadBackoff, devices: DeviceAllocator
) -> ModelStatus:
    """Return how one version is served now."""
    if (entry := slots.loaded.get(key)) is not None:
        group = entry.group
        return ModelStatus(
            "warm",
            len(group.pids),
            row_batching=group.load_report.row_batching,
            device=_device_use(group, devices),
            waiting=group.dispatcher.waiting,
            running=group.dispatcher.running,
        )
    if key in slots.loading:
        return ModelStatus("loading")
    if (failure := load_backoff.active(key)) is not None:
        return ModelStatus("failed", reason=str(failure))
    return ModelStatus("cold")


def _device_use(group: WorkerGroup, devices: DeviceAllocator) -> DeviceUse | None:
    source = group.source
    return DeviceUse(source.device, source.gpu_share, devices.memory_bytes(group)) if source.device else None


def memory_report(slots: ModelSlots, budget: MemoryBudget) -> MemoryReport:
    """Return the memory that was in use when it was last measured."""
    limit = budget.limit
    loaded = slots.loaded if limit is not None else {}
    models = {key: entry.group.memory_bytes for key, entry in loaded.items()}
    return MemoryReport(limit, budget.base_bytes, models, budget.environment_bytes)


def device_reports(shares: DeviceShares) -> list[DeviceReport]:
    """Return what is known of each device."""
    return [
        DeviceReport(device.uuid, device.name, shares.taken(device), shares.memory.get(device.uuid))
        for device in shares.devices
    ]
