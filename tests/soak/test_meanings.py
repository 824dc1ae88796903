"""Proves which versions may answer while a reference changes its version."""

from __future__ import annotations

from tests.soak.meanings import ABSENT, Meanings


def versions(meanings: Meanings, began: float, ended: float) -> list[str]:
    return [span.version for span in meanings.possible("m", "@live", began=began, ended=ended)]


def test_before_and_after_a_change() -> None:
    """Both may answer until the new version did; later requests get only the new version."""
    meanings = Meanings(patience=30)
    assert meanings.change("m", "@live", version="1", label="a", at=0)
    assert not meanings.change("m", "@live", version="1", label="a", at=1)
    meanings.change("m", "@live", version="2", label="b", at=10)
    assert versions(meanings, 5, 9) == ["1"]
    assert versions(meanings, 11, 12) == ["1", "2"]
    assert not meanings.settled("m", "@live", now=12)
    new = meanings.possible("m", "@live", began=11, ended=12)[1:]
    meanings.answered("m", "@live", new, ended=12)
    assert versions(meanings, 11, 14) == ["1", "2"]
    assert versions(meanings, 13, 14) == ["2"]
    assert meanings.settled("m", "@live", now=12)


def test_patience() -> None:
    """The old meaning is not answered for ever, even if the new version answered no request."""
    meanings = Meanings(patience=30)
    meanings.change("m", "@live", version="1", label="a", at=0)
    meanings.change("m", "@live", version="2", label="b", at=10)
    assert versions(meanings, 40, 41) == ["1", "2"]
    assert versions(meanings, 41, 42) == ["2"]


def test_what_is_known() -> None:
    """Only the present meaning counts, and only where it was answered; what is absent cannot be asked."""
    meanings = Meanings(patience=30)
    meanings.change("m", "@live", version="1", label="a", at=0)
    assert not meanings.known("m", "@live")
    meanings.answered("m", "@live", [meanings.current("m", "@live")], ended=1)
    assert meanings.known("m", "@live")
    assert meanings.refs("m") == ["@live"]
    meanings.change("m", "@live", version=ABSENT, label=ABSENT, at=2)
    assert not meanings.known("m", "@live")
    assert meanings.refs("m") == []
