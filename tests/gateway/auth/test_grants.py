"""Proves which models grants cover."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.actions import Action
from gateway.auth.grants import NO_RIGHTS, Grants, ModelPattern, parse_grants
from gateway.domain.refs import Selector, parse_selector

RUN_ID = "0" * 31 + "a"


@pytest.mark.parametrize(
    ("pattern", "name", "version", "covered"),
    [
        ("wine", "wine", None, True),
        ("wine", "wine", "3", True),
        ("wine", "wine", "@champion", True),
        ("wine", "Wine", None, False),
        ("wine", "wine ", None, False),
        ("wine", "wine\n", None, False),
        ("wine", "wines", None, False),
        ("wine", "a wine", None, False),
        ("team-*", "team-", None, True),
        ("team-*", "team-a/b\nc", None, True),
        ("team-*", "a-team-b", None, False),
        ("*", "anything", "best", True),
        ("wine?", "wine2", None, True),
        ("wine[12]", "wine3", None, False),
        ("wine.", "winex", None, False),
        ("wine+", "winee", None, False),
        ("fraud@champion", "fraud", "@champion", True),
        ("fraud/@champion", "fraud", "@champion", True),
        ("fraud@champion", "fraud", "@challenger", False),
        ("fraud@champion", "fraud", "3", False),
        ("fraud@champion", "fraud", "latest", False),
        ("fraud@champion", "fraud", None, False),
        ("fraud@champion", "fraud@champion", None, False),
        ("fraud@*", "fraud", "@anything", True),
        ("fraud@*", "fraud", "3", False),
        ("fraud/3", "fraud", "3", True),
        ("fraud/3", "fraud", "33", False),
        ("fraud/3", "fraud", "@3", False),
        ("fraud/3", "fraud", "latest", False),
        ("fraud/*", "fraud", "@champion", False),
        ("fraud/*", "fraud", "best", True),
        ("fraud/best", "fraud", "best", True),
        ("fraud/m-*", "fraud", "m-1", True),
        (f"fraud/{RUN_ID}", "fraud", RUN_ID, True),
        ("a%2Fb", "a/b", None, True),
        ("a%2Fb", "a", "b", False),
        ("a%40b", "a@b", None, True),
        ("a%25", "a%", None, True),
        ("50%2A", "50*", None, True),
        ("50%2A", "50-anything", None, False),
        ("a%5Bbc%5D", "a[bc]", None, True),
        ("a%5Bbc%5D", "ab", None, False),
        ("a%3F", "ab", None, False),
        ("%C3%A4*", "äb", None, True),
        ("forest%2F*", "forest/nested: odd", "1", True),
    ],
)
def test_what_a_pattern_covers(pattern: str, name: str, version: str | None, *, covered: bool) -> None:
    """A whole name, case by case; a version only as it is named; nothing by a part of a name."""
    try:
        selector: Selector | None = None if version is None else parse_selector(version)
    except Exception:  # noqa: BLE001 - such a version can never be asked for
        assert not covered
        return
    assert ModelPattern(pattern).matches(name, selector) is covered
    grants = Grants({Action.INVOKE: [ModelPattern(pattern)]})
    for _ in range(2):  # looked up, and remembered
        assert grants.decide(Action.INVOKE, name, selector) is covered
        assert grants.decide(Action.READ, name, selector) is False


@pytest.mark.parametrize(
    "text", ["", "/", "@", "a/b/c", "a@", "a/", "@b", "a@b@c", "a/b@c", "a%00", "a%ff", "x" * 513]
)
def test_what_is_no_pattern(text: str) -> None:
    """The problem says what would be one."""
    with pytest.raises(ValueError, match=r"pattern such as|more than 512"):
        ModelPattern(text)


@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
def test_no_pattern_breaks(pattern: str, name: str) -> None:
    """Whatever it is, it is refused or gives an answer."""
    with suppress(ValueError):
        assert ModelPattern(pattern).matches(name, None) in {True, False}


def test_patterns_of_many_stars_take_no_time() -> None:
    """Each name is compared in linear time."""
    assert not ModelPattern("*a" * 100 + "b").matches("a" * 10_000, None)


async def test_rights_of_lists_and_status() -> None:
    """A list may be asked for by all, and shows what may be read; the gateway's state needs its grant."""
    grants = parse_grants({"read": ["wine", "fraud@champion"], "status": ["*"]})
    assert grants.allows_route(Action.READ)
    assert grants.allows_route(Action.STATUS)
    assert not grants.allows_route(Action.MANAGE)
    assert await grants.readable(["wine", "fraud", "other"]) == {"wine"}
    assert NO_RIGHTS.allows_route(Action.READ)
    assert not NO_RIGHTS.allows_route(Action.STATUS)
    assert await NO_RIGHTS.readable(["wine"]) == frozenset()
    assert await grants.ask(Action.READ, "wine", None)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "must be actions with lists"),
        ({"reed": ["*"]}, "'reed' is none of read, invoke, manage, status"),
        ({"open": ["*"]}, "'open' is none of"),
        ({"read": {}}, "read must be a list"),
        ({"read": [None]}, "None is not a pattern"),
        ({"read": ["a/b/c"], "invoke": ["@"]}, "read: 'a/b/c' is not a pattern.*invoke: '@' is not"),
        ({"status": ["wine"]}, "status concerns no model"),
    ],
)
def test_what_are_no_grants(value: object, words: str) -> None:
    """The error has every problem at once."""
    with pytest.raises(ValueError, match=words):
        parse_grants(value)


def test_one_pattern_needs_no_list() -> None:
    """As people write it; a number is a name too."""
    assert parse_grants({"read": "wine"}).decide(Action.READ, "wine", None)
    assert parse_grants({"read": [7]}).decide(Action.READ, "7", None)
