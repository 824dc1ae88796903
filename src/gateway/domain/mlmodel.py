"""Parses a version's MLmodel file, which is untrusted: any user who registers a model writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 32
_MAX_INTEGER: Final = 2.0**63
_START_EVENTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_END_EVENTS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class InvalidMlmodel(ValueError):
    """The content is not an MLmodel file, or is too large or too deeply nested."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's signature, as parsed from MLflow's JSON; a part that is not declared is None."""

    inputs: object = None
    outputs: object = None
    params: object = None


@dataclass(frozen=True, slots=True)
class Mlmodel:
    """The parts of an MLmodel file that the gateway uses or shows."""

    flavors: tuple[str, ...] = ()
    mlflow_version: str | None = None
    signature: Signature | None = None


def parse_mlmodel(data: bytes) -> Mlmodel:
    """Parse the content of an MLmodel file; raise InvalidMlmodel.

    The nesting depth is checked first, because libyaml's recursion on a hostile file crashes the process.
    All scalars are read as text, so that YAML tags and merges have no effect.
    """
    if len(data) > MAX_BYTES:
        raise InvalidMlmodel(f"MLmodel is larger than {MAX_BYTES} bytes")
    try:
        _check_depth(data)
        document = yaml.load(data, yaml.CBaseLoader)  # noqa: S506 - creates only text, lists and dicts
    except (yaml.YAMLError, UnicodeError) as error:
        raise InvalidMlmodel("MLmodel is not YAML") from error
    if not isinstance(document, dict):
        raise InvalidMlmodel("MLmodel is not a YAML mapping")
    flavors = document.get("flavors")
    version = document.get("mlflow_version")
    return Mlmodel(
        flavors=tuple(str(name) for name in flavors) if isinstance(flavors, dict) else (),
        mlflow_version=version if isinstance(version, str) and version else None,
        signature=_parse_signature(document.get("signature")),
    )


def _check_depth(data: bytes) -> None:
    depth = 0
    for event in yaml.parse(data, yaml.CBaseLoader):
        if isinstance(event, _START_EVENTS):
            depth += 1
        elif isinstance(event, _END_EVENTS):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise InvalidMlmodel(f"MLmodel is nested deeper than {_MAX_DEPTH} levels")


def _parse_signature(value: object) -> Signature | None:
    if not isinstance(value, dict):
        return None
    return Signature(
        inputs=_parse_signature_part(value, "inputs"),
        outputs=_parse_signature_part(value, "outputs"),
        params=_parse_signature_part(value, "params"),
    )


def _parse_signature_part(signature: Mapping[str, object], part: str) -> object:
    text = signature.get(part)
    if not isinstance(text, str) or text in {"", "~"}:
        return None
    try:
        parsed: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if "NaN" not in text and "Infinity" not in text:
            raise InvalidMlmodel(f"the signature's {part} are not JSON") from error
        return _parse_non_finite(text, part)
    return parsed


def _parse_non_finite(text: str, part: str) -> object:
    """Parse what MLflow writes for a name or default that is NaN or infinite: null stands for it here.

    The result must be what orjson can write: other numbers are doubles, as where orjson parses.
    """
    try:
        parsed: object = json.loads(text, parse_constant=lambda _: None, parse_int=_parse_int)
        orjson.dumps(parsed)
    except (ValueError, RecursionError, TypeError) as error:
        raise InvalidMlmodel(f"the signature's {part} are not JSON") from error
    return parsed


def _parse_int(digits: str) -> float:
    number = float(digits)
    return int(digits) if abs(number) < _MAX_INTEGER else number
