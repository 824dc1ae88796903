"""Proves that a folder counts as intact until it is touched, and that what is remembered is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.artifacts.integrity import Intact, stamp
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from pathlib import Path


def key(number: int) -> ModelKey:
    return ModelKey("wine", str(number), "f")


def test_until_it_is_touched(tmp_path: Path) -> None:
    """Any change of a file is one."""
    (tmp_path / "file").write_text("content")
    intact = Intact()
    assert not intact.holds(key(1), tmp_path)
    intact.note(key(1), stamp(tmp_path))
    assert intact.holds(key(1), tmp_path)
    (tmp_path / "file").write_text("CONTENT")
    assert not intact.holds(key(1), tmp_path)


def test_the_first_is_forgotten(tmp_path: Path) -> None:
    """Where there are too many."""
    (tmp_path / "file").write_text("content")
    intact = Intact(most=2)
    for number in (1, 2, 1, 3):
        intact.note(key(number), stamp(tmp_path))
    assert [intact.holds(key(number), tmp_path) for number in (1, 2, 3)] == [True, False, True]
