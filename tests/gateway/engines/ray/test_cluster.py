"""Proves which nodes of a cluster get an agent, and which reconnect timeouts are warned of."""

from __future__ import annotations

import pytest

from gateway.engines.ray.cluster import carries, is_raised

HEAD = {"Resources": {"CPU": 1.0, "node:__internal_head__": 1.0}, "Labels": {"agent": "yes"}}
NODE = {"Resources": {"CPU": 1.0}, "Labels": {"agent": "no", "zone": ""}}
BARE: dict[str, dict[str, float]] = {"Resources": {}}


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("", [False, True, True]),
        ("agent", [True, True, False]),
        ("agent=yes", [True, False, False]),
        ("agent=no", [False, True, False]),
        ("zone=", [False, True, False]),
        ("other", [False, False, False]),
    ],
)
def test_chosen_nodes(label: str, expected: list[bool]) -> None:
    """All but the head without a label; else those that carry it, the head too."""
    assert [carries(node, label) for node in (HEAD, NODE, BARE)] == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [("86400", True), ("3600.0", True), ("60", False), ("", False), ("a day", False)]
)
def test_reconnect_timeout(seconds: str, expected: bool) -> None:
    """Ray's default is a minute; what is no number is as good as that."""
    assert is_raised(seconds) is expected
