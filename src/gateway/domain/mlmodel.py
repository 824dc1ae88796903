"""What a version's MLmodel file says; read with suspicion, since whoever registers a model writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT: Final = 1 << 20
_DEPTH: Final = 32
_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class MlmodelUnreadable(ValueError):
    """The file is not an MLmodel file, or is too large or too deep to be one."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the model takes and gives, as MLflow's own JSON has it; None where it does not say."""

    inputs: object = None
    outputs: object = None
    params: object = None


@dataclass(frozen=True, slots=True)
class Mlmodel:
    """The parts of an MLmodel file that a caller may want to know."""

    flavors: tuple[str, ...] = ()
    mlflow_version: str | None = None
    signature: Signature | None = None


def parse(data: bytes) -> Mlmodel:
    """The MLmodel file in `data`; raises MlmodelUnreadable.

    Nesting is measured first: libyaml's recursion over a hostile file ends the whole process. Every
    scalar is read as text, which leaves no room for tags, merges and the like.
    """
    if len(data) > LIMIT:
        raise MlmodelUnreadable(f"MLmodel is larger than {LIMIT} bytes")
    try:
        _check_depth(data)
        document = yaml.load(data, yaml.CBaseLoader)  # noqa: S506 - makes nothing but text, lists and dicts
    except (yaml.YAMLError, UnicodeError) as error:
        raise MlmodelUnreadable("MLmodel is not YAML") from error
    if not isinstance(document, dict):
        raise MlmodelUnreadable("MLmodel is not a YAML mapping")
    flavors = document.get("flavors")
    version = document.get("mlflow_version")
    return Mlmodel(
        flavors=tuple(str(name) for name in flavors) if isinstance(flavors, dict) else (),
        mlflow_version=version if isinstance(version, str) and version else None,
        signature=_signature(document.get("signature")),
    )


def _check_depth(data: bytes) -> None:
    depth = 0
    for event in yaml.parse(data, yaml.CBaseLoader):
        if isinstance(event, _OPENING):
            depth += 1
        elif isinstance(event, _CLOSING):
            depth -= 1
        if depth > _DEPTH:
            raise MlmodelUnreadable(f"MLmodel is nested deeper than {_DEPTH} levels")


def _signature(value: object) -> Signature | None:
    if not isinstance(value, dict):
        return None
    return Signature(
        inputs=_json(value, "inputs"), outputs=_json(value, "outputs"), params=_json(value, "params")
    )


def _json(signature: Mapping[str, object], part: str) -> object:
    text = signature.get(part)
    if not isinstance(text, str) or text in {"", "~"}:
        return None
    try:
        parsed: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MlmodelUnreadable(f"the signature's {part} are not JSON") from error
    return parsed
