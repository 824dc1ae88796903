"""The folder that keeps the demo's data between runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cli.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECIPE_VERSION = 1  # raise it when the example models change: folders with older models are trained again
SUBFOLDERS = ("artifacts", "cache")


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """A folder with the demo's data, whose models may not be trained yet."""

    path: Path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder; raise DemoError if another demo has locked it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("w")
        except OSError as error:
            text = f"{self.path} cannot be used: {error.strerror}. Choose another folder with --folder."
            raise DemoError(text) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                text = f"Another `gateway demo` runs in {self.path}. Stop it, or choose another --folder."
                raise DemoError(text) from error
            yield

    @property
    def trained(self) -> bool:
        """Whether the folder has all models of the current recipe."""
        try:
            found = json.loads(self._marker_file.read_text())
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and found.get("recipe") == RECIPE_VERSION

    def clear(self) -> None:
        """Delete what an unfinished or older training left, and no other files."""
        self._marker_file.unlink(missing_ok=True)
        for name in SUBFOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for file in self.path.glob("mlflow.db*"):
            file.unlink()

    def mark_trained(self) -> None:
        """Record that the folder has all models."""
        self._marker_file.write_text(json.dumps({"recipe": RECIPE_VERSION}) + "\n")

    @property
    def _marker_file(self) -> Path:
        return self.path / "trained.json"
