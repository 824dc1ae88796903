"""Proves when a file is read again, look by look."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.auth.access_file.change_detector import ChangeDetector, signature

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def detector() -> ChangeDetector:
    """One whose file was read, and then read again to be sure."""
    detector = ChangeDetector()
    detector.was_read((1,), changed=True)
    assert detector.must_read((1,))
    detector.was_read((1,), changed=False)
    return detector


def test_an_unchanged_file(detector: ChangeDetector) -> None:
    """It is read no more."""
    assert not any(detector.must_read((1,)) for _ in range(10))


def test_a_change_must_settle(detector: ChangeDetector) -> None:
    """The file may be half written at the first look; it is read when the next one finds it the same."""
    assert [detector.must_read((2,)), detector.must_read((2,))] == [False, True]


def test_a_file_that_changes_all_the_time(detector: ChangeDetector) -> None:
    """It is read at the third look, so that a revoked key is refused in time."""
    assert [detector.must_read((number,)) for number in (2, 3, 4)] == [False, False, True]
    detector.was_read((4,), changed=False)
    assert [detector.must_read((number,)) for number in (5, 6, 7)] == [False, False, True]


def test_a_change_that_is_undone(detector: ChangeDetector) -> None:
    """What was read is still right, and the next change gets all its time."""
    assert [detector.must_read((number,)) for number in (2, 1, 3, 3)] == [False, False, False, True]


def test_a_file_that_is_gone(detector: ChangeDetector) -> None:
    """A missing file is a state like others."""
    assert [detector.must_read(None), detector.must_read(None)] == [False, True]


def test_after_news_once_more(detector: ChangeDetector) -> None:
    """The file may have changed a second time within a tick of its file system's clock."""
    detector.was_read((2,), changed=True)
    assert detector.must_read((2,))
    detector.was_read((2,), changed=False)
    assert not detector.must_read((2,))


def test_signatures(tmp_path: Path) -> None:
    """Every way to change a file shows, also with an old time, another mode, or through links."""
    file = tmp_path / "file"
    assert signature(file) is None
    seen = {signature(file)}
    file.write_text("a")
    seen.add(signature(file))
    file.write_text("ab")
    seen.add(signature(file))
    os.utime(file, (1, 1))
    seen.add(signature(file))
    file.unlink()
    file.write_text("ab")
    os.utime(file, (1, 1))
    seen.add(signature(file))
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("x")
    file.unlink()
    file.symlink_to("data/file")
    seen.add(signature(file))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "file").write_text("x")
    (tmp_path / "data").unlink()
    (tmp_path / "data").symlink_to("two")
    seen.add(signature(file))
    assert len(seen) == 7
