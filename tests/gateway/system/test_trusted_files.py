"""Proves which files the gateway trusts: those that no other user can have written."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.system.trusted_files import UntrustedFileError, check_trusted_folder, read_trusted_file
from tests.support.disks import disk

if TYPE_CHECKING:
    from collections.abc import Iterator

ANOTHER = 12345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of this user in a folder of its own."""
    (tmp_path / "folder").mkdir(mode=0o755)
    file = tmp_path / "folder" / ".env"
    file.write_bytes(b"A=1\n")
    file.chmod(0o644)
    return file


def reason(path: Path, *, allow_temporary: bool = True) -> str:
    """Return why the file is not trusted."""
    with pytest.raises(UntrustedFileError) as caught:
        read_trusted_file(path, allow_temporary=allow_temporary)
    return str(caught.value)


def test_a_file_that_only_this_user_can_write(file: Path) -> None:
    """However many may read it. A link to such a file is trusted too."""
    assert read_trusted_file(file) == b"A=1\n"
    (file.parent / "link").symlink_to(file)
    assert read_trusted_file(file.parent / "link") == b"A=1\n"


@pytest.mark.parametrize("mode", [0o646, 0o666, 0o602])
def test_a_file_that_all_users_can_write(file: Path, mode: int) -> None:
    """It is rejected with the command that mends it."""
    file.chmod(mode)
    assert reason(file) == "other users can write it: chmod go-w"


@needs_root
def test_a_group_that_may_write(file: Path) -> None:
    """Only the group of this user's name, without other members, as systems with umask 002 have it."""
    file.chmod(0o664)
    file.parent.chmod(0o775)
    assert read_trusted_file(file) == b"A=1\n"
    os.chown(file, 0, ANOTHER)
    assert "chmod go-w" in reason(file)
    os.chown(file, 0, 0)
    os.chown(file.parent, 0, ANOTHER)
    assert "other users can write to its folder" in reason(file)


@needs_root
def test_another_owner(file: Path) -> None:
    """Of the file or of a folder above it: that user could replace it."""
    os.chown(file, ANOTHER, 0)
    assert f"it belongs to another user (uid {ANOTHER})" in reason(file)
    os.chown(file, 0, 0)
    os.chown(file.parent, ANOTHER, 0)
    assert f"its folder {file.parent} belongs to another user (uid {ANOTHER})" in reason(file)


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_folder_that_all_users_can_write(file: Path, mode: int) -> None:
    """With the sticky bit too: another user could have created the file before this user did."""
    file.parent.chmod(mode)
    assert reason(file) == f"other users can write to its folder {file.parent}"


def test_a_folder_above(file: Path) -> None:
    """It may have the sticky bit, like /tmp. Without it, other users could replace the whole folder."""
    file.parent.parent.chmod(0o1777)
    assert read_trusted_file(file) == b"A=1\n"
    file.parent.parent.chmod(0o777)
    assert reason(file) == f"other users can write to its folder {file.parent.parent}"


def test_both_ends_of_a_link_count(file: Path, tmp_path: Path) -> None:
    """Where the link is, and where it leads to."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)
    (tmp_path / "open" / ".env").symlink_to(file)
    assert "other users can write to its folder" in reason(tmp_path / "open" / ".env")
    (tmp_path / "open" / ".env").unlink()
    file.rename(tmp_path / "open" / "target")
    file.symlink_to(tmp_path / "open" / "target")
    assert "other users can write to its folder" in reason(file)


def test_the_folder_for_temporary_files(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is rejected itself; folders below it only on request."""
    monkeypatch.setattr(tempfile, "tempdir", str(file.parent))
    assert "is for temporary files, which models write too" in reason(file)
    monkeypatch.setattr(tempfile, "tempdir", str(file.parent.parent))
    assert read_trusted_file(file) == b"A=1\n"
    assert "is for temporary files" in reason(file, allow_temporary=False)
    with pytest.raises(UntrustedFileError, match="is for temporary files"):
        check_trusted_folder(file.parent)
    monkeypatch.setattr(tempfile, "tempdir", str(file.parent / "temporary"))
    check_trusted_folder(file.parent)


def test_a_file_system_that_is_mounted_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers get files: of any owner there, and at any path."""
    with disk(tmp_path / "disk", mebibytes=1) as folder:
        file = folder / "config"
        file.write_bytes(b"A=1\n")
        file.chmod(0o666)
        os.chown(file, ANOTHER, ANOTHER)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        assert "it belongs to another user" in reason(file)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        assert read_trusted_file(file, allow_temporary=False) == b"A=1\n"
        check_trusted_folder(folder)


def test_what_is_no_plain_file(file: Path) -> None:
    """A pipe does not block, and a file without an end is not read to the end."""
    file.unlink()
    os.mkfifo(file)
    assert reason(file) == "it is not a regular file"
    file.unlink()
    file.write_bytes(b"x" * (2**20 + 1))
    assert "more than" in reason(file)
    with pytest.raises(IsADirectoryError):
        read_trusted_file(file.parent)
    with pytest.raises(FileNotFoundError):
        read_trusted_file(file.parent / "absent")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o664])
def test_a_private_file_that_others_can_read(file: Path, mode: int) -> None:
    """It is rejected with the command that mends it."""
    file.chmod(mode)
    with pytest.raises(UntrustedFileError) as caught:
        read_trusted_file(file, private=True)
    assert "chmod 600" in str(caught.value) or "chmod go-w" in str(caught.value)
    file.chmod(0o600)
    assert read_trusted_file(file, private=True) == b"A=1\n"


@needs_root
def test_a_private_file_and_groups(file: Path) -> None:
    """A group with other members may not read it; this user's private group may."""
    file.chmod(0o640)
    assert read_trusted_file(file, private=True) == b"A=1\n"
    os.chown(file, 0, ANOTHER)
    with pytest.raises(UntrustedFileError, match="other users can read it: chmod 600"):
        read_trusted_file(file, private=True)


@needs_root
def test_a_private_file_of_root() -> None:
    """Its group may read it: the way to give an ordinary user a file that it cannot write."""
    with tempfile.TemporaryDirectory(dir="/var/lib") as folder:
        path = Path(folder) / "access.yaml"
        path.write_bytes(b"A=1\n")
        Path(folder).chmod(0o755)
        os.chown(path, 0, ANOTHER)
        path.chmod(0o640)
        with another_user():
            assert read_trusted_file(path, private=True) == b"A=1\n"
        path.chmod(0o644)
        with another_user(), pytest.raises(UntrustedFileError, match="other users can read it"):
            read_trusted_file(path, private=True)


@contextmanager
def another_user() -> Iterator[None]:
    """Have this process act as another user."""
    os.setegid(ANOTHER)
    os.seteuid(ANOTHER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@needs_root
def test_a_private_file_on_a_read_only_disk(tmp_path: Path) -> None:
    """As Kubernetes mounts secrets: for all to read, and for none to write."""
    with disk(tmp_path / "disk", mebibytes=1) as folder:
        path = folder / "access.yaml"
        path.write_bytes(b"A=1\n")
        path.chmod(0o644)
        with pytest.raises(UntrustedFileError):
            read_trusted_file(path, private=True)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        assert read_trusted_file(path, private=True) == b"A=1\n"


def test_a_larger_limit(file: Path) -> None:
    """The caller may allow more than the default; one byte more than that is refused."""
    file.write_bytes(b"x" * (2**20 + 1))
    assert reason(file) == "it has more than 1048576 bytes"
    assert len(read_trusted_file(file, max_bytes=2**20 + 1)) == 2**20 + 1
    file.write_bytes(b"x" * (2**20 + 2))
    with pytest.raises(UntrustedFileError, match="more than 1048577 bytes"):
        read_trusted_file(file, max_bytes=2**20 + 1)
