"""JSON whose numbers keep their digits: browsers round integers beyond 2^53, Python prints floats anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import orjson

_MAX_CHARS: Final = 200_000
_MAX_DEPTH: Final = 100


class Number(str):
    """A number as it was written."""

    __slots__ = ()


def parse(document: object) -> object:
    """Return what a JSON text holds, each number as a `Number`; another value is returned as it is.

    Raises ValueError if the text is not JSON, is nested too deeply, or has more than 200 000 characters.
    """
    if not isinstance(document, bytes | str):
        return document
    if len(document) > _MAX_CHARS:
        raise ValueError("the document is too long")
    try:
        return json.loads(document, parse_int=Number, parse_float=Number, parse_constant=Number)
    except RecursionError as error:
        raise ValueError("the document is nested too deeply") from error


def dump(value: object, *, depth: int = 0) -> str:
    """Return a value as JSON text, its numbers as they were written. Raises ValueError if it is too deep."""
    if depth > _MAX_DEPTH:
        raise ValueError("the value is nested too deeply")
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Mapping):
        members = (f"{_text(str(name))}: {dump(each, depth=depth + 1)}" for name, each in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(dump(each, depth=depth + 1) for each in value)}]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value) if isinstance(value, int) else orjson.dumps(value).decode()


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
