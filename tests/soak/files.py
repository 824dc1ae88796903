"""Harm to the gateway's artifact cache, as disks and people do it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random


def damage(cache: Path, rng: Random) -> str | None:
    """Turn over a byte of some model's file; the model's name, None where there is no model."""
    folder = _any(cache, rng)
    if folder is None:
        return None
    name = _name(folder)
    file = rng.choice(_files(folder))
    content = bytearray(file.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 0xFF
        file.write_bytes(content)
    return name


def remove_file(cache: Path, rng: Random) -> str | None:
    """Remove some model's file; the model's name, None where there is no model."""
    folder = _any(cache, rng)
    if folder is None:
        return None
    name = _name(folder)
    rng.choice(_files(folder)).unlink(missing_ok=True)
    return name


def remove_least_used(cache: Path, rng: Random) -> str | None:
    """Remove the least recently used folder, and return the model's name."""
    folders = _folders(cache)
    if not folders:
        return None
    locks = cache / "v1" / "locks"
    folder = min(folders, key=lambda one: (_used(locks / f"{one.name}.lease"), rng.random()))
    name = _name(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return name


def _any(cache: Path, rng: Random) -> Path | None:
    folders = [folder for folder in _folders(cache) if _files(folder)]
    return rng.choice(folders) if folders else None


def _folders(cache: Path) -> list[Path]:
    models = cache / "v1" / "models"
    return sorted(folder for folder in models.iterdir() if (folder / "manifest.json").is_file())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "files").rglob("*") if path.is_file())


def _name(folder: Path) -> str:
    """The model's name, of `name/version`."""
    model: str = json.loads((folder / "manifest.json").read_text())["model"]
    return model.rpartition("/")[0]


def _used(lease: Path) -> float:
    try:
        return lease.stat().st_mtime
    except FileNotFoundError:
        return 0.0
