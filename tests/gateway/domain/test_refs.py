"""What a caller may write where a version stands."""

from __future__ import annotations

import pytest

from gateway.domain.refs import Alias, Best, Latest, ModelRef, Number, Selector, parse_pinned, parse_selector
from gateway.domain.refs import format_ref as written
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
    ],
)
def test_each_spelling_has_its_meaning(text: str, expected: Selector) -> None:
    """A number is a version, `@` makes an alias of anything."""
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
    ],
)
def test_every_other_spelling_is_no_version(text: str) -> None:
    """MLflow takes some of them for a number; a version has one spelling, being part of cache keys."""
    with pytest.raises(NotFound):
        parse_selector(text)


def test_best_carries_metric_and_order() -> None:
    """Empty ones count as absent; a wrong order is the caller's fault."""
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
    ],
)
def test_a_pinned_model_is_a_name_and_a_version(text: str, expected: ModelRef) -> None:
    """The last part is the version, so names may hold slashes and at signs."""
    assert parse_pinned(text) == expected


@pytest.mark.parametrize("selected", [Number(3), Latest(), Best(), Alias("champion")])
def test_a_ref_is_written_as_it_is_read(selected: Selector) -> None:
    """So that a problem with a pinned model names it as the setting does."""
    ref = ModelRef("my wine/x", selected)
    assert parse_pinned(written(ref)) == ref


@pytest.mark.parametrize("text", ["", "wine", "wine/", "@champion", "wine/01", "wine@", "/2"])
def test_a_pinned_model_without_either_is_refused(text: str) -> None:
    """The message says what would be right."""
    with pytest.raises(ValueError, match="is not name@alias, name/number"):
        parse_pinned(text)
