"""The folder that holds the demo's data from one start to the next."""

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

# raised when the example models change, so that an older folder is trained anew
RECIPE_VERSION = 1
SUBFOLDERS = ("artifacts", "cache")


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """A folder of the demo's, trained or not yet."""

    path: Path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other demos out of the folder; raises DemoError where one is in it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("w")
        except OSError as error:
            raise DemoError(
                f"{self.path} cannot be used: {error.strerror}. Name another: --folder"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                text = f"Another `gateway demo` runs in {self.path}. Stop it, or name another: --folder"
                raise DemoError(text) from error
            yield

    @property
    def trained(self) -> bool:
        """Whether all models of the present recipe are in it."""
        try:
            found = json.loads(self._marker_file.read_text())
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and found.get("recipe") == RECIPE_VERSION

    def clear(self) -> None:
        """Take away what an unfinished or older training left; nothing that is not the demo's."""
        self._marker_file.unlink(missing_ok=True)
        for name in SUBFOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for file in self.path.glob("mlflow.db*"):
            file.unlink()

    def mark_trained(self) -> None:
        """Say that all models are in it."""
        self._marker_file.write_text(json.dumps({"recipe": RECIPE_VERSION}) + "\n")

    @property
    def _marker_file(self) -> Path:
        return self.path / "trained.json"
