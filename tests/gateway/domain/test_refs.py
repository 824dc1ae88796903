"""Proves which spellings of a version and of a pinned model are valid."""

from __future__ import annotations

import pytest

from gateway.domain.refs import (
    Alias,
    Best,
    Latest,
    ModelId,
    ModelRef,
    Number,
    RunId,
    Selector,
    format_ref,
    parse_pinned,
    parse_selector,
)
from gateway.errors import BadRequest, NotFound


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", Number(1)),
        ("123456789012345678", Number(123456789012345678)),
        ("latest", Latest()),
        ("best", Best()),
        ("@champion", Alias("champion")),
        ("@5", Alias("5")),
        ("@a_b-C", Alias("a_b-C")),
        ("m-0a1b", ModelId("m-0a1b")),
        ("f65f40190f854eaeb3b38d9962274331", RunId("f65f40190f854eaeb3b38d9962274331")),
        ("1" * 32, RunId("1" * 32)),
    ],
)
def test_each_valid_spelling_is_parsed(text: str, expected: Selector) -> None:
    """A number is a version; with `@` before it, anything is an alias."""
    assert parse_selector(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "01",
        "+1",
        "-1",
        "1.0",
        "1 ",
        "٣",
        "³",
        "1234567890123456789",
        "abc",
        "Latest",
        "@",
        "@a b",
        "@ä",
        "v1",
        "m-",
        "M-0a1b",
        "m-a b",
        "m-ä",
        "m-" + "x" * 127,
        "f65f40190f854eaeb3b38d996227433",
        "F65F40190F854EAEB3B38D9962274331",
    ],
)
def test_every_other_spelling_is_not_found(text: str) -> None:
    """MLflow accepts some of them as numbers; here a version has one spelling, as a part of cache keys."""
    with pytest.raises(NotFound):
        parse_selector(text)


def test_best_carries_metric_and_order() -> None:
    """Empty values count as absent; a wrong order is a bad request."""
    assert parse_selector("best", metric="rmse", order="max") == Best("rmse", "max")
    assert parse_selector("best", metric="", order="") == Best()
    with pytest.raises(BadRequest, match="min or max"):
        parse_selector("best", order="MIN")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wine@champion", ModelRef("wine", Alias("champion"))),
        ("wine/@champion", ModelRef("wine", Alias("champion"))),
        ("forest/2", ModelRef("forest", Number(2))),
        ("a/b/latest", ModelRef("a/b", Latest())),
        (" my model/best ", ModelRef("my model", Best())),
        ("a@b@c", ModelRef("a@b", Alias("c"))),
        ("forest/m-0a1b", ModelRef("forest", ModelId("m-0a1b"))),
        ("a/m-b/m-0a1b", ModelRef("a/m-b", ModelId("m-0a1b"))),
        ("a/m-b/latest", ModelRef("a/m-b", Latest())),
        ("forest/" + "0" * 32, ModelRef("forest", RunId("0" * 32))),
    ],
)
def test_a_pinned_model_is_a_name_and_a_version(text: str, expected: ModelRef) -> None:
    """The last part is the version, so names may contain slashes and at signs."""
    assert parse_pinned(text) == expected


@pytest.mark.parametrize(
    "selector", [Number(3), Latest(), Best(), Alias("champion"), ModelId("m-1"), RunId("0" * 32)]
)
def test_a_formatted_ref_can_be_parsed(selector: Selector) -> None:
    """So a message about a pinned model names it in the form of the setting."""
    ref = ModelRef("my wine/x", selector)
    assert parse_pinned(format_ref(ref)) == ref


@pytest.mark.parametrize("text", ["", "wine", "wine/", "@champion", "wine/01", "wine@", "/2"])
def test_a_pinned_model_without_name_or_version_is_rejected(text: str) -> None:
    """The message has the valid forms."""
    with pytest.raises(ValueError, match="is not name@alias, name/number"):
        parse_pinned(text)
