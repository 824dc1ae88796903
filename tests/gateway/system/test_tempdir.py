"""Proves that the temporary files of a gateway process go with it, and that only dead ones' are removed."""

from __future__ import annotations

import multiprocessing.util
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
from gateway.scratch import own_folder
with own_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are kept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process, and its folder."""
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


def test_everything_goes_with_it(parent: Path) -> None:
    """Files of `tempfile` and of multiprocessing lie in it; afterwards all is as before."""
    with private_tempdir() as folder:
        assert folder.parent == parent
        assert Path(tempfile.mkdtemp()).parent == folder
        assert Path(multiprocessing.util.get_temp_dir()) == folder
    assert list(parent.iterdir()) == []
    assert tempfile.gettempdir() == str(parent)
    assert Path(multiprocessing.util.get_temp_dir()) != folder


def test_it_goes_where_the_block_fails(parent: Path) -> None:
    """However it ends."""
    with pytest.raises(ZeroDivisionError), private_tempdir():
        raise ZeroDivisionError
    assert list(parent.iterdir()) == []


def test_one_that_is_used_stays(holder: tuple[subprocess.Popen[str], Path]) -> None:
    """Another gateway that runs is left alone."""
    _, its = holder
    with private_tempdir() as folder:
        assert its.is_dir()
        assert folder != its


def test_one_of_a_killed_process_is_removed(holder: tuple[subprocess.Popen[str], Path]) -> None:
    """With everything in it."""
    process, its = holder
    (its / "more").mkdir()
    (its / "more" / "file").write_text("content")
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert its.is_dir()
    with private_tempdir():
        assert not its.exists()


def test_what_only_looks_like_one_stays(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file, a link to a folder, and somebody's own folder were not left by a gateway."""
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
def test_that_of_another_user_stays(parent: Path) -> None:
    """It is not ours to remove."""
    other = parent / "gateway-other"
    other.mkdir()
    (other / ".of-a-gateway-process").touch()
    os.chown(other, 12345, 12345)
    with private_tempdir():
        assert other.is_dir()


def test_no_place_for_it(parent: Path) -> None:
    """An operator has to hear of it."""
    parent.rmdir()
    with pytest.raises(OSError, match="No such file"), private_tempdir():
        pass
    parent.mkdir()
