"""Proves what Content-Type and Accept headers are taken for."""

from __future__ import annotations

import pytest

from gateway.api import bodies
from gateway.api.errors import HttpRefusal


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
    assert bodies.media_type(header) == "application/json"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("text/csv", "text/csv"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("application/json; charset=latin-1", "charset=latin-1"),
        ("application/json; format=pandas-split", "format=pandas-split"),
        ("x" * 1000, "xxx..."),
        ("text/\x1b[31mred", "text/?[31mred"),
    ],
)
def test_other_types_are_refused(header: str, said: str) -> None:
    """415, naming what was sent (short and plain) and what would be right."""
    with pytest.raises(HttpRefusal) as refusal:
        bodies.media_type(header)
    assert refusal.value.status == 415
    assert said in str(refusal.value)
    assert "application/json" in str(refusal.value) or "charset=utf-8" in str(refusal.value)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        ("*/*", True),
        ("application/json", True),
        ("Application/JSON; q=0.5", True),
        ("text/html, application/*;q=0.1", True),
        ("text/html, */*;q=0", False),
        ("application/json;q=0, */*", False),
        ("*/*;q=0, application/json", True),
        ("text/html", False),
        ("application/json;q=nonsense", True),
        ("", True),
        ("application/json;level=1", True),
        ("application/json;q=0, application/json", True),
    ],
)
def test_accept(accept: str, taken: bool) -> None:
    """The most exact match decides; a weight of 0 excludes."""
    assert bodies.takes_json(accept) is taken
