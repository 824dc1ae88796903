"""Proves that a verified folder counts as unchanged until a file changes, and that the record is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.artifacts.integrity import VerifiedFiles, stat_fingerprint
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from pathlib import Path


def key(number: int) -> ModelKey:
    return ModelKey("wine", str(number), "f")


def test_a_change_is_detected(tmp_path: Path) -> None:
    """A folder counts as unchanged only after it was verified, and until a file changes."""
    (tmp_path / "file").write_text("content")
    verified = VerifiedFiles()
    assert not verified.is_unchanged(key(1), tmp_path)
    verified.record(key(1), stat_fingerprint(tmp_path))
    assert verified.is_unchanged(key(1), tmp_path)
    (tmp_path / "file").write_text("CONTENT")
    assert not verified.is_unchanged(key(1), tmp_path)


def test_the_number_of_entries_is_bounded(tmp_path: Path) -> None:
    """The least recently used entry is removed first."""
    (tmp_path / "file").write_text("content")
    verified = VerifiedFiles(max_entries=2)
    for number in (1, 2, 1, 3):
        verified.record(key(number), stat_fingerprint(tmp_path))
    assert [verified.is_unchanged(key(number), tmp_path) for number in (1, 2, 3)] == [True, False, True]
