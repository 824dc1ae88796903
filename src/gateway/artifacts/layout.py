"""The paths inside the cache's folder: of complete models and of partial downloads."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.artifacts import manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

_MANIFEST_NAME: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class ModelPaths:
    """The paths of one cached model; `folder` is created and removed as a whole, under a lock."""

    folder: Path
    lease_lock: Path
    download_lock: Path

    @property
    def files(self) -> Path:
        """The folder with the model's files."""
        return self.folder / "files"

    @property
    def manifest(self) -> Path:
        """The list of the files with their digests."""
        return self.folder / _MANIFEST_NAME

    def size(self) -> int:
        """Return the bytes of the model's files; 0 if its manifest cannot be read."""
        stored = manifest.load_manifest(self.manifest)
        return stored.size if stored else 0

    def last_used(self) -> float:
        """Return the time of the model's last lease (seconds, file system clock); 0 if never leased."""
        try:
            return self.lease_lock.stat().st_mtime
        except FileNotFoundError:
            return 0.0


@dataclass(frozen=True, slots=True)
class PartialDownload:
    """The paths of one download in progress; its lock is held as long as its process runs."""

    root: Path

    @property
    def folder(self) -> Path:
        """The folder that becomes the model's folder by a rename."""
        return self.root / "model"

    @property
    def files(self) -> Path:
        """The folder with the model's files."""
        return self.folder / "files"

    @property
    def manifest(self) -> Path:
        """The list of the files with their digests, written last."""
        return self.folder / _MANIFEST_NAME

    @property
    def lock(self) -> Path:
        """The lock file, held during the download; its content is the number of reserved bytes."""
        return self.root / "lock"

    def reserved_bytes(self) -> int:
        """Return the bytes reserved for the download."""
        try:
            return int(self.lock.read_text() or 0)
        except (OSError, ValueError):
            return 0

    def missing_bytes(self) -> int:
        """Return the reserved bytes that are not written yet."""
        written = sum(status.st_size for status in _iter_stats(self.files))
        return max(0, self.reserved_bytes() - written)


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder with its content, even if its permissions forbid that."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.is_dir():
        # Removing entries needs write permission on their folder.
        path.chmod(0o700)
        for top, folders, _ in os.walk(path):
            for name in folders:
                (Path(top) / name).chmod(0o700, follow_symlinks=False)
        shutil.rmtree(path, ignore_errors=True)


def _iter_stats(folder: Path) -> Iterator[os.stat_result]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            yield path.lstat()
