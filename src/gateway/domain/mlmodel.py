"""Parses a version's MLmodel file, which is untrusted: any user who registers a model writes it."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict

import orjson
import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES: Final = 1 << 20  # a signature of 14,000 columns; its size costs little, unlike its structure
_MAX_EVENTS: Final = 20_000  # of the YAML parser: 0.2 s; MLflow's own files have a few hundred
_MAX_DEPTH: Final = 32
_PARTS: Final = ("inputs", "outputs", "params")
_MAX_TAG_DIRECTIVES: Final = 100  # libyaml compares each with all others, in one call that holds the GIL
_BYTES_PER_JSON_BYTE: Final = 24  # that a signature of empty lists takes as Python objects
_BYTES_PER_NAME: Final = 64
_MAX_TIME_CHARS: Final = 64
_VERSION: Final = re.compile(r"3\.[0-9]{1,3}(?:\.[0-9A-Za-z+]{1,20})?", re.ASCII)
_MAX_INTEGER: Final = 2.0**63
_START_EVENTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_END_EVENTS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class _PythonFields(TypedDict):
    python_version: str | None
    has_bytecode: bool


class InvalidMlmodel(ValueError):
    """The content is not an MLmodel file, or has too many bytes, parts or levels."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's signature, as parsed from MLflow's JSON; a part that is not declared is None.

    `from_type_hints` says whether MLflow took it from the type hints of the model's code. `json_bytes` is the
    length of that JSON.
    """

    inputs: object = None
    outputs: object = None
    params: object = None
    from_type_hints: bool = False
    json_bytes: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Mlmodel:
    """The parts of an MLmodel file that the gateway uses or shows.

    `logged_at` is in UTC. `python_version` is that of the machine that logged the model. A model that
    `has_bytecode` is a pickled Python class, which only the same minor version of Python runs.
    """

    flavors: tuple[str, ...] = ()
    mlflow_version: str | None = None
    signature: Signature | None = None
    logged_at: datetime | None = None
    python_version: str | None = None
    has_bytecode: bool = False

    @property
    def size_bytes(self) -> int:
        """The approximate bytes of memory that it takes."""
        signature_bytes = self.signature.json_bytes if self.signature else 0
        names_bytes = sum(_BYTES_PER_NAME + len(name) for name in self.flavors)
        return signature_bytes * _BYTES_PER_JSON_BYTE + names_bytes + _BYTES_PER_NAME


def parse_mlmodel(data: bytes) -> Mlmodel:
    """Parse the content of an MLmodel file; raise InvalidMlmodel.

    The structure is checked first, because libyaml's recursion on a hostile file crashes the process.
    All scalars are read as text, so that YAML tags and merges have no effect.
    """
    try:
        check_structure(data)
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
        signature=_parse_signature(document),
        logged_at=_parse_time(document.get("utc_time_created")),
        **_parse_python(flavors),
    )


def _parse_time(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > _MAX_TIME_CHARS:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _parse_python(flavors: object) -> _PythonFields:
    function = flavors.get("python_function") if isinstance(flavors, dict) else None
    if not isinstance(function, dict):
        return {"python_version": None, "has_bytecode": False}
    version = function.get("python_version")
    return {
        "python_version": version if isinstance(version, str) and _VERSION.fullmatch(version) else None,
        "has_bytecode": bool(function.get("python_model")) and not function.get("model_code_path"),
    }


def check_structure(data: bytes) -> None:
    """Raise InvalidMlmodel, or what the parser raises, for YAML with too many bytes, parts or levels."""
    if len(data) > MAX_BYTES:
        raise InvalidMlmodel(f"MLmodel is larger than {MAX_BYTES} bytes")
    if data.startswith(_UTF16_MARKS):
        raise InvalidMlmodel("MLmodel is not UTF-8")
    if data.count(b"%TAG") > _MAX_TAG_DIRECTIVES:
        raise InvalidMlmodel(f"MLmodel has more than {_MAX_TAG_DIRECTIVES} tag directives")
    depth = 0
    for number, event in enumerate(yaml.parse(data, yaml.CBaseLoader)):
        if number > _MAX_EVENTS:
            raise InvalidMlmodel(f"MLmodel has more than {_MAX_EVENTS} parts")
        if isinstance(event, _START_EVENTS):
            depth += 1
        elif isinstance(event, _END_EVENTS):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise InvalidMlmodel(f"MLmodel is nested deeper than {_MAX_DEPTH} levels")


def _parse_signature(document: Mapping[str, object]) -> Signature | None:
    value = document.get("signature")
    if not isinstance(value, dict):
        return None
    texts = [text for part in _PARTS if isinstance(text := value.get(part), str)]
    size = sum(map(len, texts))  # together they may be more than the file: by aliases of YAML
    if size > MAX_BYTES:
        raise InvalidMlmodel(f"the signature has more than {MAX_BYTES} characters")
    return Signature(
        inputs=_parse_signature_part(value, "inputs"),
        outputs=_parse_signature_part(value, "outputs"),
        params=_parse_signature_part(value, "params"),
        from_type_hints=document.get("is_signature_from_type_hint") == "true",
        json_bytes=size,
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
    try:
        orjson.dumps([[[[parsed]]]])  # as deep as it stands in answers; it reads deeper than it writes
    except TypeError as error:
        raise InvalidMlmodel(f"the signature's {part} are nested too deeply") from error
    return parsed


def _parse_non_finite(text: str, part: str) -> object:
    """Parse what MLflow writes for a name or default that is NaN or infinite: null stands for it here.

    The result must be what orjson can write: other numbers are doubles, as where orjson parses.
    """
    try:
        parsed: object = json.loads(text, parse_constant=lambda _: None, parse_int=_parse_int)
        orjson.dumps([[[[parsed]]]])
    except (ValueError, RecursionError, TypeError) as error:
        raise InvalidMlmodel(f"the signature's {part} are not JSON") from error
    return parsed


def _parse_int(digits: str) -> float:
    number = float(digits)
    return int(digits) if abs(number) < _MAX_INTEGER else number
