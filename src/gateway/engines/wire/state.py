"""The state of a node as its gateways see it: its models, memory, devices and environments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.engines.wire.fields import Fields, clean
from workers.devices.inventory import DeviceMemory
from workers.pool.status import DeviceReport, DeviceUse, MemoryReport, ModelStatus
from workers.protocol.messages import ModelKey, RowBatching

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.environments.state import StateName

_MODEL_STATES: Final = ("cold", "loading", "warm", "failed")
_ENVIRONMENT_STATES: Final = ("shared", "building", "ready", "failed")
MAX_ENTRIES: Final = 5_000
"""The most entries of each list of a state: the gateway reads it on its event loop."""
_MAX_WANTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class NodeModel:
    """A version that is loaded or loading on a node, and on how many nodes that node wants it (`wanted`).

    `busy` is the share of the last seconds in which its workers there were busy, from 0 to 1.
    """

    status: ModelStatus
    wanted: int = 1
    pinned: bool = False
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeEnvironment:
    """What a node knows of a version's environment; `progress` is in words, empty if none is being built."""

    state: StateName
    digest: str = ""
    python: str = ""
    reason: str = ""
    progress: str = ""


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node tells of itself.

    `running_environments` are the digests of environments that have processes. `environments_bytes` is the
    disk that all take. `spawn_failures` counts failed starts of worker processes in a row, the first of them
    `spawn_failing_seconds` ago. A `draining` node answers what it was given, and is about to end.
    """

    models: Mapping[ModelKey, NodeModel] = field(default_factory=dict)
    failures: Mapping[ModelKey, str] = field(default_factory=dict)
    memory: MemoryReport = field(default_factory=lambda: MemoryReport(None, 0, {}, {}))
    devices: tuple[DeviceReport, ...] = ()
    environments: Mapping[ModelKey, NodeEnvironment] = field(default_factory=dict)
    running_environments: frozenset[str] = frozenset()
    environments_bytes: int = 0
    spawn_failures: int = 0
    spawn_failing_seconds: float = 0.0
    draining: bool = False


def state_to_dict(state: NodeState) -> dict[str, Any]:
    """Return the state as JSON has it; the memory of a model is an entry of its own."""
    memory = state.memory
    return {
        "models": [_model_to_dict(key, model) for key, model in state.models.items()],
        "failures": [{"key": list(key), "reason": clean(reason)} for key, reason in state.failures.items()],
        "memory": {
            "budget_bytes": memory.budget_bytes,
            "base_bytes": memory.base_bytes,
            "models": [{"key": list(key), "bytes": size} for key, size in memory.model_bytes.items()],
            "environments": dict(memory.environment_bytes),
        },
        "devices": [_device_to_dict(device) for device in state.devices],
        "environments": [_environment_to_dict(key, each) for key, each in state.environments.items()],
        "running_environments": sorted(state.running_environments),
        "environments_bytes": state.environments_bytes,
        "spawn_failures": state.spawn_failures,
        "spawn_failing_seconds": state.spawn_failing_seconds,
        "draining": state.draining,
    }


def state_from_dict(value: object) -> NodeState:
    """Return the state. Raise WireError."""
    fields = Fields(value, "a state")
    for name in ("models", "failures", "devices", "environments", "running_environments"):
        fields.limit(name, MAX_ENTRIES)
    fields.object("memory").limit("models", MAX_ENTRIES)
    fields.object("memory").limit("environments", MAX_ENTRIES)
    return NodeState(
        models={each.key(): _model(each) for each in fields.objects("models")},
        failures={each.key(): each.text("reason") for each in fields.objects("failures")},
        memory=_memory(fields.object("memory")),
        devices=tuple(map(_device, fields.objects("devices", []))),
        environments={each.key(): _environment(each) for each in fields.objects("environments", [])},
        running_environments=frozenset(fields.texts("running_environments")),
        environments_bytes=fields.integer("environments_bytes", 0),
        spawn_failures=fields.integer("spawn_failures", 0),
        spawn_failing_seconds=fields.seconds("spawn_failing_seconds", 0.0),
        draining=fields.flag("draining", default=False),
    )


def _model_to_dict(key: ModelKey, model: NodeModel) -> dict[str, Any]:
    status, device = model.status, model.status.device
    return {
        "key": list(key),
        "state": status.state,
        "workers": status.workers,
        "reason": None if status.reason is None else clean(status.reason),
        "row_batching": status.row_batching
        and [status.row_batching.enabled, clean(status.row_batching.reason)],
        "device": device
        and {"uuid": device.uuid, "share": device.share, "memory_bytes": device.memory_bytes},
        "waiting": status.waiting,
        "running": status.running,
        "wanted": model.wanted,
        "pinned": model.pinned,
        "busy": model.busy,
    }


def _model(fields: Fields) -> NodeModel:
    status = ModelStatus(
        fields.one_of("state", _MODEL_STATES),
        fields.integer("workers"),
        reason=fields.optional_text("reason"),
        row_batching=_row_batching(fields),
        device=_device_use(fields.optional_object("device")),
        waiting=fields.integer("waiting", 0),
        running=fields.integer("running", 0),
    )
    return NodeModel(
        status,
        min(max(1, fields.integer("wanted", 1)), _MAX_WANTED),
        fields.flag("pinned", default=False),
        fields.seconds("busy", 0.0),
    )


def _row_batching(fields: Fields) -> RowBatching | None:
    match fields.items("row_batching", []) if fields.has("row_batching") else []:
        case [bool(enabled), str(reason)]:
            return RowBatching(enabled, reason)
    return None


def _device_use(fields: Fields | None) -> DeviceUse | None:
    if fields is None:
        return None
    return DeviceUse(fields.text("uuid"), fields.integer("share"), fields.optional_integer("memory_bytes"))


def _memory(fields: Fields) -> MemoryReport:
    return MemoryReport(
        fields.optional_integer("budget_bytes"),
        fields.integer("base_bytes"),
        {each.key(): each.integer("bytes") for each in fields.objects("models", [])},
        fields.integer_map("environments"),
    )


def _device_to_dict(device: DeviceReport) -> dict[str, Any]:
    memory = device.memory
    return {
        "uuid": device.uuid,
        "name": device.name,
        "shares_taken": device.shares_taken,
        "memory": memory and {"total_bytes": memory.total_bytes, "used_bytes": memory.used_bytes},
    }


def _device(fields: Fields) -> DeviceReport:
    memory = fields.optional_object("memory")
    return DeviceReport(
        fields.text("uuid"),
        fields.text("name"),
        fields.integer("shares_taken"),
        None if memory is None else DeviceMemory(memory.integer("total_bytes"), memory.integer("used_bytes")),
    )


def _environment_to_dict(key: ModelKey, environment: NodeEnvironment) -> dict[str, Any]:
    return {
        "key": list(key),
        "state": environment.state,
        "digest": environment.digest,
        "python": environment.python,
        "reason": clean(environment.reason),
        "progress": environment.progress,
    }


def _environment(fields: Fields) -> NodeEnvironment:
    return NodeEnvironment(
        fields.one_of("state", _ENVIRONMENT_STATES),
        *[fields.text(name, "") for name in ("digest", "python", "reason", "progress")],
    )
