"""Removes from uv's cache what no environment shares with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gateway.artifacts import folders
from gateway.artifacts.layout import remove_tree
from gateway.artifacts.locks import FileLock

if TYPE_CHECKING:
    from pathlib import Path

_LOCK: Final = ".lock"  # each uv holds it, shared
_FROM_INDEX: Final = "index"


def prune(cache: Path, partials: Path) -> bool:
    """Remove unpacked wheels of which no file has a second name; return whether there were any.

    Do nothing while a uv of this or another gateway runs. uv fetches what is gone from an index again. For
    other wheels it would rely on its notes, so these go too.
    """
    lock = FileLock(cache / _LOCK)
    if not lock.try_acquire():
        return False
    try:
        unused = [path for path in cache.glob("archive-v*/*") if not _is_shared(path)]
        for path in unused:
            folders.discard(path, partials)
        if unused:
            for path in cache.glob("wheels-v*/*"):
                if path.name != _FROM_INDEX:
                    folders.discard(path, partials)
    finally:
        lock.release()
    return bool(unused)


def remove_interrupted(cache: Path) -> None:
    """Remove what a killed uv has left of its downloads, unless a uv runs."""
    lock = FileLock(cache / _LOCK)
    if lock.try_acquire():
        try:
            for path in cache.glob(".tmp*"):
                remove_tree(path)
        finally:
            lock.release()


def _is_shared(folder: Path) -> bool:
    """Return whether an environment has a file of this folder."""
    paths = (os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)  # noqa: PTH118 - many
    return any(os.lstat(path).st_nlink > 1 for path in paths)
