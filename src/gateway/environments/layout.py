"""The paths in the folder of environments, and the manifest that makes one of them complete."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_MAX_MANIFEST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class EnvironmentManifest:
    """What a complete environment has: it is written last, so that a folder without one is no environment.

    `files` is its fingerprint, and `model` the version that it was first built for.
    """

    digest: str
    python: str
    packages: tuple[str, ...]
    files: tuple[int, ...]
    model: str

    def write(self, path: Path) -> None:
        """Write it to a new file at `path` and fsync it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class EnvironmentPaths:
    """The paths of one environment; `folder` is created and removed as a whole, under a lock."""

    folder: Path
    lease_lock: Path
    build_lock: Path

    @property
    def root(self) -> Path:
        """The virtual environment itself."""
        return self.folder / "env"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.root / "bin" / "python"

    @property
    def manifest(self) -> Path:
        """The file that is written last."""
        return self.folder / "manifest.json"

    def last_used(self) -> float:
        """Return the time of the last lease (seconds, file system clock); 0 if there was none."""
        try:
            return self.lease_lock.stat().st_mtime
        except FileNotFoundError:
            return 0.0


@dataclass(frozen=True, slots=True)
class PartialEnvironment:
    """The paths of an environment that is being built; its lock is held as long as its process runs."""

    top: Path

    @property
    def folder(self) -> Path:
        """The folder that becomes the environment's by a rename."""
        return self.top / "environment"

    @property
    def root(self) -> Path:
        """The virtual environment itself."""
        return self.folder / "env"

    @property
    def manifest(self) -> Path:
        """The file that is written last."""
        return self.folder / "manifest.json"

    @property
    def scratch(self) -> Path:
        """A folder for what the build alone needs."""
        return self.top / "scratch"


def load_manifest(path: Path) -> EnvironmentManifest | None:
    """Return the manifest at `path`, or None if there is none or it is invalid."""
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        return EnvironmentManifest(
            str(content["digest"]),
            str(content["python"]),
            tuple(map(str, content["packages"])),
            tuple(map(int, content["files"])),
            str(content["model"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
