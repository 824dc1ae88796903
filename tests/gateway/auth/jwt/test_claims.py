"""Proves what claims say of a caller."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.auth.jwt.claims import MAX_GROUPS, find_claim, read_groups


@pytest.mark.parametrize(
    ("claims", "name", "groups"),
    [
        ({"groups": ["a", "b"]}, "groups", ("a", "b")),
        ({"groups": ["ML Ops", "/team/a"]}, "groups", ("ML Ops", "/team/a")),
        ({"groups": "a b  c"}, "groups", ("a", "b", "c")),
        ({"groups": ["a", "a"]}, "groups", ("a",)),
        ({}, "groups", ()),
        ({"groups": None}, "groups", ()),
        ({"groups": []}, "groups", ()),
        ({"groups": ""}, "groups", ()),
        ({"groups": 5}, "groups", ()),
        ({"groups": {"admin": True}}, "groups", ()),
        ({"groups": [5, None, ["admin"], {"admin": 1}, True, "a"]}, "groups", ("a",)),
        ({"groups": ["", "a\nb", "a\x00", "x" * 257, "a\u202eb", "a"]}, "groups", ("a",)),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ("a",)),
        ({"realm_access": {"roles": "a b"}}, "realm_access.roles", ("a", "b")),
        ({"realm_access": ["roles"]}, "realm_access.roles", ()),
        ({"realm_access": {"roles": {"a": 1}}}, "realm_access.roles", ()),
        ({"realm_access": "roles"}, "realm_access.roles", ()),
        ({"realm_access": {}}, "realm_access.roles", ()),
        ({"a.b": ["exact"], "a": {"b": ["inner"]}}, "a.b", ("exact",)),
        ({"https://example.org/groups": ["a"]}, "https://example.org/groups", ("a",)),
        ({"resource_access": {"my.client": {"roles": ["a"]}}}, "resource_access.my.client.roles", ("a",)),
        ({"a": {"x": 1}, "a.b": {"c": ["a"]}}, "a.b.c", ("a",)),
        ({"": {"": ["a"]}}, ".", ("a",)),
    ],
)
def test_groups(claims: dict[str, Any], name: str, groups: tuple[str, ...]) -> None:
    """A list or words, at a name or a path; what is no group gives none."""
    assert read_groups(claims, name) == groups


def test_no_more_than_a_thousand_groups_count() -> None:
    """In a list as in a text."""
    many = [str(number) for number in range(5000)]
    assert read_groups({"groups": many}, "groups") == tuple(many[:MAX_GROUPS])
    assert read_groups({"groups": " ".join(many)}, "groups") == tuple(many[:MAX_GROUPS])


def test_a_path_into_deep_objects_ends() -> None:
    """Each part of the path is used once."""
    claims: dict[str, Any] = {}
    inner = claims
    for _ in range(500):
        inner["a"] = inner = {}
    assert find_claim(claims, ".".join("a" * 20) + ".b") is None
