"""What lies in the cache's folder: complete models, and models on their way."""

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
    """Where one model's files are: `folder` appears complete, under a lock, and goes as a whole."""

    folder: Path
    lease_lock: Path
    download_lock: Path

    @property
    def files(self) -> Path:
        """The model's own folder."""
        return self.folder / "files"

    @property
    def manifest(self) -> Path:
        """What the folder consists of."""
        return self.folder / _MANIFEST_NAME

    def size(self) -> int:
        """Bytes of the model there; 0 where that is not known."""
        known = manifest.load_manifest(self.manifest)
        return known.size if known else 0

    def last_used(self) -> float:
        """When the model was last put on lease, in seconds of the file system's clock; 0 for never."""
        try:
            return self.lease_lock.stat().st_mtime
        except FileNotFoundError:
            return 0.0


@dataclass(frozen=True, slots=True)
class PartialDownload:
    """A folder for a model on its way, beside its final place; its lock tells that its owner lives."""

    root: Path

    @property
    def folder(self) -> Path:
        """What is renamed to the model's place."""
        return self.root / "model"

    @property
    def files(self) -> Path:
        """The model's own folder."""
        return self.folder / "files"

    @property
    def manifest(self) -> Path:
        """What the folder consists of, written last."""
        return self.folder / _MANIFEST_NAME

    @property
    def lock(self) -> Path:
        """Held for as long as the folder is in use; its content is the number of bytes to come."""
        return self.root / "lock"

    def reserved_bytes(self) -> int:
        """Bytes that were set aside for it."""
        try:
            return int(self.lock.read_text() or 0)
        except (OSError, ValueError):
            return 0

    def missing_bytes(self) -> int:
        """Bytes of those that are not there yet."""
        written = sum(status.st_size for status in _iter_stats(self.files))
        return max(0, self.reserved_bytes() - written)


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, also where its permissions were taken away."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.is_dir():
        # A folder can only be emptied by who may write in it.
        path.chmod(0o700)
        for top, folders, _ in os.walk(path):
            for name in folders:
                (Path(top) / name).chmod(0o700, follow_symlinks=False)
        shutil.rmtree(path, ignore_errors=True)


def _iter_stats(folder: Path) -> Iterator[os.stat_result]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            yield path.lstat()
