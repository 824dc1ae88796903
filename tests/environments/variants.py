"""Versions whose requirements differ from those of a trained model, registered for one test."""

from __future__ import annotations

import shutil
import uuid
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer


@dataclass(frozen=True)
class Variants:
    """A maker of such versions: each is a copy of a saved model."""

    server: MlflowServer
    folder: Path

    def register(
        self,
        original: Path,
        requirements: Mapping[str, str],
        *,
        change: Callable[[Path], None] | None = None,
    ) -> dict[str, str]:
        """Register a copy of `original` for each text of a requirements.txt; return their names by its key.

        `change` may change the files of each copy before.
        """
        names, pairs = {}, []
        for key, text in requirements.items():
            names[key] = f"variant-{uuid.uuid4().hex[:8]}"
            copy = self.folder / names[key]
            shutil.copytree(original, copy)
            (copy / "requirements.txt").write_text(text)
            (copy / "conda.yaml").unlink(missing_ok=True)
            if change is not None:
                change(copy)
            pairs.append(f"{names[key]}={copy}")
        self.server.module("tests.environments.registering", *pairs)
        return names


def broken_wheel(folder: Path, name: str) -> Path:
    """Write a wheel of a module that raises when it is imported; return its path."""
    wheel = folder / f"{name}-99.0-py3-none-any.whl"
    info = f"{name}-99.0.dist-info"
    files = {
        f"{name}.py": "raise ImportError('broken on purpose')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel
