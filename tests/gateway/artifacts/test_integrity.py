"""Proves that a folder counts as intact until it is touched, and that what is remembered is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.artifacts.integrity import VerifiedFiles, stat_fingerprint
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from pathlib import Path


def key(number: int) -> ModelKey:
    return ModelKey("wine", str(number), "f")


def test_until_it_is_touched(tmp_path: Path) -> None:
    """Any change of a file is one."""
    (tmp_path / "file").write_text("content")
    intact = VerifiedFiles()
    assert not intact.is_unchanged(key(1), tmp_path)
    intact.record(key(1), stat_fingerprint(tmp_path))
    assert intact.is_unchanged(key(1), tmp_path)
    (tmp_path / "file").write_text("CONTENT")
    assert not intact.is_unchanged(key(1), tmp_path)


def test_the_first_is_forgotten(tmp_path: Path) -> None:
    """Where there are too many."""
    (tmp_path / "file").write_text("content")
    intact = VerifiedFiles(max_entries=2)
    for number in (1, 2, 1, 3):
        intact.record(key(number), stat_fingerprint(tmp_path))
    assert [intact.is_unchanged(key(number), tmp_path) for number in (1, 2, 3)] == [True, False, True]
