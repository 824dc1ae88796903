"""Proves which encodings of JSON are understood."""

from __future__ import annotations

import pytest

from workers.codec.json.text import parse_json
from workers.errors import InvalidInput

TEXT = '{"a": ["ä€", 1.5, 9007199254740993, 36893488147419103232]}'
VALUE = {"a": ["ä€", 1.5, 9007199254740993, 36893488147419103232]}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_encodings_that_programs_for_windows_write(encoding: str) -> None:
    """With a byte order mark or without, as MLflow's server takes them."""
    assert parse_json(TEXT.encode(encoding)) == VALUE
    assert parse_json(TEXT.replace("1.5", "Infinity").encode(encoding))["a"][1] == float("inf")  # type: ignore[index] # it is a dict


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf[1]",
        b"\xff\xfe[",
        b"[\x00\x00\xd8]\x00",
        b"\xff\xfe\xff\xfe[\x001\x00]\x00",
        b"\x00",
        b"\x00\x00\x00",
        b"",
        "[1".encode("utf-16"),
    ],
)
def test_other_bytes(body: bytes) -> None:
    """They are rejected, and nothing else is raised."""
    with pytest.raises(InvalidInput, match="not valid JSON"):
        parse_json(body)
