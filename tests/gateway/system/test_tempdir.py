"""Proves that a gateway process removes its temporary files, and those of killed processes, but no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.system.tempdir import private_tempdir

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDER = """
import sys
from gateway.system.tempdir import private_tempdir
with private_tempdir() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files."""
    with tempfile.TemporaryDirectory(prefix="test-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def holder(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process, and its private folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, "TMPDIR": str(parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_all_temporary_files_are_removed(parent: Path) -> None:
    """Those of `tempfile` are in the folder; afterwards all is as before."""
    with private_tempdir() as folder:
        assert folder.parent == parent
        assert Path(tempfile.mkdtemp()).parent == folder
    assert list(parent.iterdir()) == []
    assert tempfile.gettempdir() == str(parent)


def test_the_folder_is_removed_after_an_error(parent: Path) -> None:
    """An error in the context does not leave it behind."""
    with pytest.raises(ZeroDivisionError), private_tempdir():
        raise ZeroDivisionError
    assert list(parent.iterdir()) == []


def test_a_folder_in_use_stays(holder: tuple[subprocess.Popen[str], Path]) -> None:
    """That of another gateway process that runs."""
    _, used = holder
    with private_tempdir() as folder:
        assert used.is_dir()
        assert folder != used


def test_the_folder_of_a_killed_process_is_removed(holder: tuple[subprocess.Popen[str], Path]) -> None:
    """With all its content."""
    process, stale = holder
    (stale / "more").mkdir()
    (stale / "more" / "file").write_text("content")
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert stale.is_dir()
    with private_tempdir():
        assert not stale.exists()


def test_other_files_of_that_name_stay(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file, a link and a folder without the marker were not left by a gateway process."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").write_text("content")
    (parent / "gateway-file").write_text("content")
    (parent / "gateway-frontend").mkdir()
    (parent / "gateway-frontend" / "file").write_text("content")
    (parent / "gateway-link").symlink_to(elsewhere)
    with private_tempdir():
        assert (parent / "gateway-file").read_text() == "content"
        assert (parent / "gateway-link").is_symlink()
        assert (parent / "gateway-frontend" / "file").read_text() == "content"
        assert (elsewhere / "file").read_text() == "content"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_stays(parent: Path) -> None:
    """Even if it has the marker."""
    other = parent / "gateway-other"
    other.mkdir()
    (other / ".of-a-gateway-process").touch()
    os.chown(other, 12345, 12345)
    with private_tempdir():
        assert other.is_dir()


def test_no_folder_can_be_created(parent: Path) -> None:
    """It is an error, which the operator must see."""
    parent.rmdir()
    with pytest.raises(OSError, match="No such file"), private_tempdir():
        pass
    parent.mkdir()
