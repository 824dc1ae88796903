"""The cache's folder: what is where in it, how large it may be, and who gives way."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from gateway.artifacts import disk_errors, manifest
from gateway.artifacts.layout import ModelPaths, PartialDownload, remove_tree
from gateway.artifacts.locks import FileLock, hold_lock
from gateway.concurrency.threads import in_thread
from gateway.errors import CacheFull
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey

EVICTIONS: Final = CounterSpec(
    "artifact_cache_evictions", "Versions whose cached files were removed to make room for others."
)

logger = logging.getLogger(__name__)
_LAYOUT_VERSION = "v1"


class CacheDirectory:
    """Everything below the cache's folder, shared with other processes that use the same one.

    Models and downloads together take `max_bytes` at most; a model that anybody has on lease
    stays, of the others the least recently used goes first.
    """

    def __init__(self, top: Path, *, max_bytes: int, counters: Counters) -> None:
        self._root = top / _LAYOUT_VERSION
        self._models = self._root / "models"
        self._downloads = self._root / "partial"
        self._locks = self._root / "locks"
        self._lock_path = self._root / "room.lock"
        self._counters = counters
        self._evicted_count = 0
        self.max_bytes = max_bytes

    async def open(self) -> None:
        """Make the folder, and remove what dead processes left half done."""
        await self.ensure_exists()
        async with hold_lock(self._lock_path):
            await in_thread(self._remove_abandoned)

    async def ensure_exists(self) -> None:
        """Make the folder where it is not there, or not any more: some system cleans up old files."""
        await in_thread(self._create_folders)

    def paths(self, key: ModelKey) -> ModelPaths:
        """Where the model `key` belongs; its name is never part of a path."""
        name = hashlib.sha256(json.dumps([key.name, key.version, key.fingerprint]).encode()).hexdigest()[:40]
        return self._paths(name)

    @asynccontextmanager
    async def begin_download(self, size: int) -> AsyncIterator[PartialDownload]:
        """A new folder with room for `size` bytes, gone afterwards; raises CacheFull."""
        partial = PartialDownload(self._downloads / secrets.token_hex(16))
        lock = FileLock(partial.lock)
        try:
            async with self._locked():
                await in_thread(self._create_download, partial, size, lock=lock)
            yield partial
        finally:
            await in_thread(remove_tree, partial.root)
            await in_thread(lock.release)

    async def publish(self, partial: PartialDownload, place: ModelPaths, *, size: int) -> None:
        """Put a complete model of `size` bytes in its place; raises CacheFull."""
        await in_thread(manifest.fsync_folders, partial.folder)
        async with self._locked():
            await in_thread(self._make_space, size, keep=partial)
            await in_thread(self._move_into_place, partial.folder, place.folder)

    async def free_space(self, size: int | None) -> bool:
        """Remove models nobody has on lease until `size` bytes are free, all of them where it is unknown.

        For a disk that was found full; False where there was none to remove.
        """
        async with self._locked():
            return await in_thread(self._free_space, size)

    async def discard(self, place: ModelPaths) -> None:
        """Remove the model at `place`, leased or not: it is damaged."""
        async with hold_lock(self._lock_path):
            await in_thread(self._remove_model, place.folder)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the gate, and count what was evicted meanwhile: threads do not."""
        async with hold_lock(self._lock_path):
            try:
                yield
            finally:
                evicted, self._evicted_count = self._evicted_count, 0
                if evicted:
                    self._counters.increment(EVICTIONS, times=evicted)

    def _paths(self, name: str) -> ModelPaths:
        return ModelPaths(self._models / name, self._locks / f"{name}.lease", self._locks / f"{name}.fetch")

    def _create_folders(self) -> None:
        self._root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self._root, self._models, self._downloads, self._locks):
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to somebody else", str(folder))
            folder.chmod(0o700)

    def _create_download(self, partial: PartialDownload, size: int, *, lock: FileLock) -> None:
        self._remove_abandoned()
        self._make_space(size)
        partial.root.mkdir(mode=0o700)
        if not lock.try_acquire():
            raise RuntimeError("a new folder is locked already")
        partial.lock.write_text(str(size))
        partial.folder.mkdir(mode=0o700)
        partial.files.mkdir(mode=0o700)

    def _make_space(self, size: int, *, keep: PartialDownload | None = None) -> None:
        """Have room for `size` bytes, besides what `keep` has; called with the gate held."""
        if size > self.max_bytes:
            raise CacheFull(
                f"This version's files are larger than the artifact cache: {size} of {self.max_bytes} bytes. "
                "GATEWAY_CACHE_MAX_BYTES sets its size."
            )
        others = [
            PartialDownload(top) for top in self._downloads.iterdir() if keep is None or top != keep.root
        ]
        sizes = self._model_sizes()
        taken = sum(sizes.values()) + sum(other.reserved_bytes() for other in others)
        # What `keep` has is on the disk already.
        coming = size + sum(other.missing_bytes() for other in others) if keep is None else 0
        if disk_errors.free_bytes(self._root) + sum(sizes.values()) < coming:
            raise _disk_full(size)
        for place, bytes_there in sizes.items():
            if taken + size <= self.max_bytes and coming <= disk_errors.free_bytes(self._root):
                return
            if self._evict(place):
                taken -= bytes_there
        if taken + size > self.max_bytes:
            raise CacheFull(
                f"The artifact cache is full of models in use: {size} bytes do not fit {self.max_bytes}. "
                "GATEWAY_CACHE_MAX_BYTES sets its size."
            )
        if coming > disk_errors.free_bytes(self._root):
            raise _disk_full(size)

    def _free_space(self, size: int | None) -> bool:
        removed = False
        for place in self._model_sizes():
            if size is not None and removed and disk_errors.free_bytes(self._root) >= size:
                break
            removed = self._evict(place) or removed
        return removed

    def _model_sizes(self) -> dict[ModelPaths, int]:
        """The cached models' bytes, the least recently used model first."""
        places = [self._paths(folder.name) for folder in self._models.iterdir()]
        return {place: place.size() for place in sorted(places, key=ModelPaths.last_used)}

    def _evict(self, place: ModelPaths) -> bool:
        lock = FileLock(place.lease_lock)
        if not lock.try_acquire():
            return False
        try:
            known = manifest.load_manifest(place.manifest)
            self._remove_model(place.folder)
            self._evicted_count += 1
            logger.info(
                "the cached files of %s gave way to others", known.model if known else "an unknown model"
            )
        finally:
            lock.release(remove=True)
        return True

    def _remove_model(self, folder: Path) -> None:
        # Away by one rename, so that nobody sees half of it; under a name that `_sweep` knows as dead.
        trash = self._downloads / secrets.token_hex(16)
        try:
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o700)  # a folder that is not ours to write in cannot be moved
            folder.rename(trash)
        except FileNotFoundError:
            return
        remove_tree(trash)

    def _move_into_place(self, folder: Path, place: Path) -> None:
        folder.rename(place)
        manifest.fsync_folder(self._models)

    def _remove_abandoned(self) -> None:
        """Remove the partial folders whose owner is gone; called with the gate held."""
        for top in self._downloads.iterdir():
            lock = FileLock(PartialDownload(top).lock)
            # Whoever ends a download removes its folder without the gate: it may go at any moment.
            with suppress(FileNotFoundError):
                if not top.is_dir() or top.is_symlink():
                    remove_tree(top)  # nothing of ours
                elif lock.try_acquire():
                    remove_tree(top)
                    lock.release()


def _disk_full(size: int) -> CacheFull:
    return CacheFull(
        f"The disk of the artifact cache is full: this version's files need {size} bytes, and no cached "
        "model that is not in use could give way. See GATEWAY_CACHE_DIR."
    )
