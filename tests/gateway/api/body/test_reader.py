"""Proves how a Content-Type header is read."""

from __future__ import annotations

import pytest

from gateway.api.body import reader
from gateway.api.errors import HttpError


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json;",
    ],
)
def test_json(header: str | None) -> None:
    """JSON, and no header at all, means JSON; charset=utf-8 changes nothing."""
    assert reader.parse_content_type(header) == "application/json"


@pytest.mark.parametrize(
    ("header", "quoted"),
    [
        ("text/html", "text/html"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("application/json; charset=latin-1", "charset=latin-1"),
        ("application/json; format=pandas-split", "format=pandas-split"),
        ("x" * 1000, "xxx..."),
        ("text/\x1b[31mred", "text/?[31mred"),
    ],
)
def test_unsupported_types(header: str, quoted: str) -> None:
    """415 names the type that was sent, short and printable, and the supported ones."""
    with pytest.raises(HttpError) as raised:
        reader.parse_content_type(header)
    assert raised.value.status == 415
    assert quoted in str(raised.value)
    assert "application/json" in str(raised.value) or "charset=utf-8" in str(raised.value)
    assert len(str(raised.value)) < 200
