"""JSON text to Python values, with every integer exact."""

from __future__ import annotations

import json
import re

import orjson

from workers.errors import InvalidInput

# orjson makes doubles of integers beyond 64 bits. To find out cheaply whether there may be one, all digits
# become 0 and everything that can precede a number becomes a comma: then one string search is enough.
_NORMALIZE = bytes.maketrans(b"123456789[:- \t\n\r", b"0" * 9 + b"," * 7)
_NORMALIZED_LONG_INTEGER = b"," + b"0" * 19
_LONG_INTEGER_PATTERN = re.compile(rb"[\[,:\s](?:\d{20}|-\d{19})")


def parse_json(body: bytes) -> object:
    """Parse JSON. Raises InvalidInput if the body is not JSON (NaN is not), or is nested too deeply."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.") from error
    if _NORMALIZED_LONG_INTEGER in body.translate(_NORMALIZE) and _LONG_INTEGER_PATTERN.search(body):
        return parse_json_like_mlflow(body)
    return document


def parse_json_like_mlflow(body: bytes) -> object:
    """Parse JSON with Python's parser, as MLflow's scoring server does: NaN and Infinity are numbers."""
    try:
        return json.loads(body)
    except ValueError as error:
        raise InvalidInput("The body is not valid JSON, or a number in it is too long.") from error
    except RecursionError as error:
        raise InvalidInput("The body is nested too deeply.") from error
