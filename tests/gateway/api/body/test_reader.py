"""Proves what Content-Type and Accept headers are taken for."""

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
    """JSON, and nothing at all, is JSON; charset=utf-8 changes nothing."""
    assert reader.parse_content_type(header) == "application/json"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("text/html", "text/html"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("application/json; charset=latin-1", "charset=latin-1"),
        ("application/json; format=pandas-split", "format=pandas-split"),
        ("x" * 1000, "xxx..."),
        ("text/\x1b[31mred", "text/?[31mred"),
    ],
)
def test_other_types_are_refused(header: str, said: str) -> None:
    """415, naming what was sent (short and plain) and what would be right."""
    with pytest.raises(HttpError) as refusal:
        reader.parse_content_type(header)
    assert refusal.value.status == 415
    assert said in str(refusal.value)
    assert "application/json" in str(refusal.value) or "charset=utf-8" in str(refusal.value)
    assert len(str(refusal.value)) < 200
