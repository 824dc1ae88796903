"""JSON text to Python values, with every integer exact."""

from __future__ import annotations

import json
import re

import orjson

from workers.errors import InvalidInput

# orjson makes a double of an integer beyond 64 bits. To find that one may be there costs little: with all
# digits alike and all that may stand before a number alike, it is a search for one string.
_NORMALIZE = bytes.maketrans(b"123456789[:- \t\n\r", b"0" * 9 + b"," * 7)
_NORMALIZED_LONG_INTEGER = b"," + b"0" * 19
_LONG_INTEGER_PATTERN = re.compile(rb"[\[,:\s](?:\d{20}|-\d{19})")


def parse_json(body: bytes) -> object:
    """What the body says. Raises InputRefused where it is no JSON (NaN is none) or nested too deeply."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.") from error
    if _NORMALIZED_LONG_INTEGER in body.translate(_NORMALIZE) and _LONG_INTEGER_PATTERN.search(body):
        return _parse_with_python(body)
    return document


def parse_json_like_mlflow(body: bytes) -> object:
    """The same by Python's own parser, as MLflow's scoring server does it: NaN and Infinity are numbers."""
    return _parse_with_python(body)


def _parse_with_python(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise InvalidInput("The body is not valid JSON, or a number in it is too long.") from error
    except RecursionError as error:
        raise InvalidInput("The body is nested too deeply.") from error
