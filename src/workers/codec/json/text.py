"""JSON text to Python values, with every integer exact."""

from __future__ import annotations

import json
import re

import orjson

from workers.codec.json.structure import check_structure
from workers.errors import InvalidInput

# orjson makes doubles of integers beyond 64 bits. To find out cheaply whether there may be one, all digits
# become 0 and everything that can precede a number becomes a comma: then one string search is enough.
_NORMALIZE = bytes.maketrans(b"123456789[:- \t\n\r", b"0" * 9 + b"," * 7)
_NORMALIZED_LONG_INTEGER = b"," + b"0" * 19
_LONG_INTEGER_PATTERN = re.compile(rb"[\[,:\s](?:\d{20}|-\d{19})")
# A string, which may lack its end, or a number that JSON lacks. Each match begins where the last one ended,
# and a string always matches: the time is linear in the size of the body.
_STRING_OR_NON_FINITE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|NaN|-?Infinity', re.DOTALL)


def parse_json(body: bytes) -> object:
    """Parse JSON; NaN, Infinity and -Infinity are numbers, as Python's encoder writes them.

    A byte order mark, UTF-16 and UTF-32 are understood, as programs for Windows write them.
    Raises InvalidInput if the body is not JSON, is nested too deeply, or has too many lists and objects.
    """
    check_structure(body)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if (text := _to_utf8(body)) is not None:
            return parse_json(text)
        if b"NaN" not in body and b"Infinity" not in body:
            raise InvalidInput(f"The body is not valid JSON: {error}.") from error
        return _parse_non_finite(body)
    if _NORMALIZED_LONG_INTEGER in body.translate(_NORMALIZE) and _LONG_INTEGER_PATTERN.search(body):
        return parse_json_like_mlflow(body)
    return document


def parse_json_like_mlflow(body: bytes) -> object:
    """Parse JSON with Python's parser, as MLflow's scoring server does: NaN and Infinity are numbers."""
    check_structure(body)
    try:
        return json.loads(body)
    except ValueError as error:
        raise InvalidInput("The body is not valid JSON, or a number in it is too long.") from error
    except RecursionError as error:
        raise InvalidInput("The body is nested too deeply.") from error


def _to_utf8(body: bytes) -> bytes | None:
    """Return a body in another encoding, or with a byte order mark, as plain UTF-8; None if it is that."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return None
    try:
        text = body.decode(encoding).encode()
    except UnicodeError:
        return None
    return text if text[:1].isascii() else None  # another byte order mark is no JSON


def _parse_non_finite(body: bytes) -> object:
    """Parse a body that orjson accepts once 0 stands for each number that is not finite.

    So everything else in it must be what orjson accepts: Python's parser also takes numbers beyond a
    double, lone surrogates and other encodings. Raises InvalidInput.
    """
    try:
        orjson.loads(_STRING_OR_NON_FINITE.sub(_to_zero, body))
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.") from error
    return parse_json_like_mlflow(body)


def _to_zero(match: re.Match[bytes]) -> bytes:
    """Return a string unchanged, a number as a 0 between spaces, which joins no digit or sign beside it."""
    token = match.group()
    return token if token.startswith(b'"') else b" 0".ljust(len(token))
