"""The control messages of a link, in JSON: greetings, loads, pins, and the state of a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.engines.wire.errors import error_from_dict, error_to_dict
from gateway.engines.wire.fields import Fields, WireError, clean
from gateway.engines.wire.state import NodeState, state_from_dict, state_to_dict
from gateway.engines.wire.versions import version_from_dict, version_to_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.domain.models import ModelVersion
    from workers.protocol.messages import ModelKey

Message = TypeVar("Message")

_MAX_KEYS: Final = 10_000  # of one message
_MAX_NUMBER: Final = 2**32 - 1  # of a model, as JOBS messages have it


@dataclass(frozen=True, slots=True)
class GatewayHello:
    """The first message of a gateway: its name, the protocol of the link, the version of the product."""

    gateway: str
    protocol: int
    product: str


@dataclass(frozen=True, slots=True)
class NodeHello:
    """The first message of a node. `memory_budget_bytes` is None if its models have no budget."""

    node: str
    protocol: int
    product: str
    memory_budget_bytes: int | None
    cores: int
    workers_per_model: int
    pid: int


@dataclass(frozen=True, slots=True)
class ModelNumber:
    """The number by which the gateway's requests on this link name a model."""

    number: int
    key: ModelKey


@dataclass(frozen=True, slots=True)
class Load:
    """A call to load a version, for `owners`: those that wait for it, None for one without a name."""

    id: int
    version: ModelVersion
    owners: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Owners:
    """All owners of a load that runs, because one more waits for it."""

    id: int
    owners: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Unload:
    """A call to unload versions."""

    id: int
    keys: tuple[ModelKey, ...]


@dataclass(frozen=True, slots=True)
class Pins:
    """All versions that this gateway pins."""

    keys: tuple[ModelKey, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """A call to start and end a worker process that does nothing."""

    id: int


@dataclass(frozen=True, slots=True)
class Done:
    """A call has ended. `seconds` is what the download of a load took, and 0 for other calls."""

    id: int
    download_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """A call has failed."""

    id: int
    error: Exception


@dataclass(frozen=True, slots=True)
class State:
    """The state of a node."""

    state: NodeState = field(default_factory=NodeState)


GatewayControl = GatewayHello | ModelNumber | Load | Owners | Unload | Pins | Probe
NodeControl = NodeHello | Done | Failed | State


def to_dict(message: GatewayControl | NodeControl) -> dict[str, Any]:
    """Return the JSON object of a message."""
    name, convert = _ENCODERS[type(message)]
    return {"type": name, **convert(message)}


def from_gateway(value: object) -> GatewayControl:
    """Return the message of a gateway. Raise WireError."""
    return _decode(value, _FROM_GATEWAY)


def from_node(value: object) -> NodeControl:
    """Return the message of a node. Raise WireError."""
    return _decode(value, _FROM_NODE)


def _decode(value: object, decoders: Mapping[str, Callable[[Fields], Message]]) -> Message:
    fields = Fields(value, "a control message")
    if (decode := decoders.get(fields.text("type"))) is None:
        raise WireError("a control message of an unknown type")
    return decode(fields)


def _model_number(fields: Fields) -> ModelNumber:
    if (number := fields.integer("number")) > _MAX_NUMBER:
        raise WireError("a model's number that is too large")
    return ModelNumber(number, fields.key())


def _keys(fields: Fields) -> tuple[ModelKey, ...]:
    fields.limit("keys", _MAX_KEYS)
    return fields.keys()


def _owners(fields: Fields) -> tuple[str | None, ...]:
    owners = fields.items("owners")
    if not all(owner is None or isinstance(owner, str) for owner in owners):
        raise WireError("owners that are no names")
    return tuple(owners)


def _node_hello(fields: Fields) -> NodeHello:
    return NodeHello(
        fields.text("node"),
        fields.integer("protocol"),
        fields.text("product"),
        fields.optional_integer("memory_budget_bytes"),
        fields.integer("cores"),
        fields.integer("workers_per_model"),
        fields.integer("pid"),
    )


def _load_to_dict(load: Load) -> dict[str, Any]:
    return {"id": load.id, "version": version_to_dict(load.version), "owners": _names(load.owners)}


def _names(owners: tuple[str | None, ...]) -> list[str | None]:
    return [None if owner is None else clean(owner) for owner in owners]


def _node_hello_to_dict(hello: NodeHello) -> dict[str, Any]:
    return {name: getattr(hello, name) for name in NodeHello.__slots__}


_ENCODERS: Final[dict[type, tuple[str, Callable[[Any], dict[str, Any]]]]] = {
    GatewayHello: (
        "hello",
        lambda hello: {"gateway": hello.gateway, "protocol": hello.protocol, "product": hello.product},
    ),
    NodeHello: ("hello", _node_hello_to_dict),
    ModelNumber: ("model", lambda model: {"number": model.number, "key": list(model.key)}),
    Load: ("load", _load_to_dict),
    Owners: ("owners", lambda owners: {"id": owners.id, "owners": _names(owners.owners)}),
    Unload: ("unload", lambda unload: {"id": unload.id, "keys": list(map(list, unload.keys))}),
    Pins: ("pins", lambda pins: {"keys": list(map(list, pins.keys))}),
    Probe: ("probe", lambda probe: {"id": probe.id}),
    Done: ("done", lambda done: {"id": done.id, "result": {"download": done.download_seconds}}),
    Failed: ("failed", lambda failed: {"id": failed.id, "error": error_to_dict(failed.error)}),
    State: ("state", lambda state: {"state": state_to_dict(state.state)}),
}
_FROM_GATEWAY: Final[dict[str, Callable[[Fields], GatewayControl]]] = {
    "hello": lambda fields: GatewayHello(
        fields.text("gateway"), fields.integer("protocol"), fields.text("product")
    ),
    "model": _model_number,
    "load": lambda fields: Load(
        fields.integer("id"), version_from_dict(fields.value("version")), _owners(fields)
    ),
    "owners": lambda fields: Owners(fields.integer("id"), _owners(fields)),
    "unload": lambda fields: Unload(fields.integer("id"), _keys(fields)),
    "pins": lambda fields: Pins(_keys(fields)),
    "probe": lambda fields: Probe(fields.integer("id")),
}
_FROM_NODE: Final[dict[str, Callable[[Fields], NodeControl]]] = {
    "hello": _node_hello,
    "done": lambda fields: Done(fields.integer("id"), fields.object("result").seconds("download", 0.0)),
    "failed": lambda fields: Failed(fields.integer("id"), error_from_dict(fields.value("error"))),
    "state": lambda fields: State(state_from_dict(fields.value("state"))),
}
