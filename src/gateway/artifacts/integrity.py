"""Remembers which models' files were verified, and detects any change since then."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from workers.protocol.messages import ModelKey

StatFingerprint = frozenset[tuple[str, int, int, int, int, int]]

_MAX_ENTRIES: Final = 2000  # kilobytes each; a model without an entry is only digested again
_MAX_MANIFESTS: Final = 20_000  # some hundred bytes each


def stat_fingerprint(folder: Path) -> StatFingerprint:
    """Return each file's path, inode, mode, size and times; empty if the folder does not exist.

    The inode's change time cannot be set back by a program, unlike the content's modification time.
    """
    return _stat_all(os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)  # noqa: PTH118 - thousands of files: a Path for each costs more than the stat


def folder_fingerprint(folder: Path) -> StatFingerprint:
    """Return the same of `folder` and the folders below it, which change with the names in them."""
    return _stat_all(top for top, _, _ in os.walk(folder))


def _stat_all(paths: Iterable[str]) -> StatFingerprint:
    found = set()
    for path in paths:
        try:
            status = os.lstat(path)
        except OSError:
            continue
        times = status.st_mtime_ns, status.st_ctime_ns
        found.add((path, status.st_ino, status.st_mode, status.st_size, *times))
    return frozenset(found)


class VerifiedFiles:
    """A thread-safe record of how models' folders were when they were verified.

    With `only_folders`, a change of a file's content is not noticed, only that a file was added or removed:
    for a cache that nothing but gateways can write. That takes one system call for each folder of a model,
    not for each file.

    A model's manifest has the digests of its files. It lies beside them, so that what can write one can write
    the other. Therefore the digest of the manifest itself is kept here.
    """

    def __init__(self, *, only_folders: bool = False, max_entries: int = _MAX_ENTRIES) -> None:
        self._only_folders = only_folders
        self._fingerprints: LRUCache[ModelKey, StatFingerprint] = LRUCache(max_entries)
        self._manifests: LRUCache[ModelKey, str] = LRUCache(_MAX_MANIFESTS)
        self._lock = Lock()

    def fingerprint(self, folder: Path) -> StatFingerprint:
        """Return what is compared at the next use of the model in `folder`. Reads the disk."""
        return folder_fingerprint(folder) if self._only_folders else stat_fingerprint(folder)

    def record(self, key: ModelKey, fingerprint: StatFingerprint) -> None:
        """Record that the model was verified when its folder had this fingerprint."""
        with self._lock:
            self._fingerprints[key] = fingerprint

    def is_unchanged(self, key: ModelKey, folder: Path) -> bool:
        """Return whether the model in `folder` was verified and has not changed since. Reads the disk."""
        with self._lock:
            known = self._fingerprints.get(key)
        if known is None:
            return False
        if self._only_folders:
            return bool(known) and known == _stat_all(path for path, *_ in known)
        return known == stat_fingerprint(folder)

    def record_manifest(self, key: ModelKey, digest: str) -> None:
        """Record the digest of the model's manifest, which was made or verified by this process."""
        with self._lock:
            self._manifests[key] = digest

    def is_other_manifest(self, key: ModelKey, digest: str) -> bool:
        """Return whether this process has made or verified another manifest of the model before."""
        with self._lock:
            return self._manifests.get(key, digest) != digest
