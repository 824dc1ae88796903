"""The cache's folder on disk: its layout, its size limit, and eviction."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.artifacts import disk_errors, folders, manifest
from gateway.artifacts.layout import ModelPaths, PartialDownload, remove_tree
from gateway.artifacts.locks import LOCK_SECONDS, FileLock, hold_lock
from gateway.concurrency.threads import in_thread
from gateway.errors import CacheFull, CacheUnusable
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey

EVICTIONS: Final = CounterSpec(
    "artifact_cache_evictions", "Versions whose cached files were removed to free space for others."
)

logger = logging.getLogger(__name__)
_LAYOUT_VERSION = "v1"
_START_LOCK_SECONDS: Final = 10.0


class CacheDirectory:
    """A folder of cached models, which several processes may share.

    Models and downloads together take at most `max_bytes` bytes. A leased model is never evicted; of the
    others the least recently used is evicted first. Gateways with the same `marks` share the same models.
    """

    def __init__(
        self,
        top: Path,
        *,
        max_bytes: int,
        counters: Counters,
        marks: Sequence[str] = (),
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._root = top / _LAYOUT_VERSION
        self._models = self._root / "models"
        self._downloads = self._root / "partial"
        self._locks = self._root / "locks"
        self._lock_path = self._root / "cache.lock"
        self._marks = tuple(marks)
        self._lock_seconds = lock_seconds
        self._counters = counters
        self._evicted_count = 0
        self.max_bytes = max_bytes

    @property
    def models_folder(self) -> Path:
        """The folder with the files of all models."""
        return self._models

    async def open(self) -> None:
        """Create the folder and remove the partial downloads of ended processes.

        If another process holds the folder's lock, leave that to the next download.
        """
        await self.ensure_exists()
        try:
            async with hold_lock(self._lock_path, limit=min(_START_LOCK_SECONDS, self._lock_seconds)):
                await in_thread(folders.remove_abandoned, self._downloads)
        except CacheUnusable:
            logger.warning(
                "The artifact cache is locked: no model can be downloaded until the lock is released",
                extra={"event": "cache_locked_at_start"},
            )

    async def ensure_exists(self) -> None:
        """Create the folders that do not exist: the system may have cleaned up old files."""
        await in_thread(self._create_folders)

    def paths(self, key: ModelKey) -> ModelPaths:
        """Return the paths of the model `key`; its name is never part of them."""
        parts = [key.name, key.version, key.fingerprint, *self._marks]
        return self._paths(hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40])

    @asynccontextmanager
    async def begin_download(self, size: int) -> AsyncIterator[PartialDownload]:
        """Yield a new folder with `size` reserved bytes and remove it afterwards; raise CacheFull."""
        partial = PartialDownload(self._downloads / secrets.token_hex(16))
        lock = FileLock(partial.lock)
        try:
            async with self._locked():
                await in_thread(self._create_download, partial, size, lock=lock)
            yield partial
        finally:
            await in_thread(remove_tree, partial.root)
            await in_thread(lock.release)

    async def publish(self, partial: PartialDownload, paths: ModelPaths, *, size: int) -> None:
        """Move a completely downloaded model of `size` bytes to its final folder; raise CacheFull."""
        await in_thread(manifest.fsync_folders, partial.folder)
        async with self._locked():
            await in_thread(self._make_space, size, keep=partial)
            await in_thread(self._move_into_place, partial.folder, paths.folder)

    async def free_space(self, size: int | None) -> bool:
        """Evict models until `size` bytes are free on a full disk; all unleased models if `size` is None.

        Return whether any model was evicted.
        """
        async with self._locked():
            return await in_thread(self._free_space, size)

    async def discard(self, paths: ModelPaths) -> None:
        """Remove a damaged model, leased or not."""
        async with self._hold_lock():
            await in_thread(folders.discard, paths.folder, self._downloads)

    def _hold_lock(self) -> AbstractAsyncContextManager[None]:
        return hold_lock(self._lock_path, limit=self._lock_seconds)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the folder's lock; count the block's evictions afterwards, in the event loop."""
        async with self._hold_lock():
            try:
                yield
            finally:
                evicted, self._evicted_count = self._evicted_count, 0
                if evicted:
                    self._counters.increment(EVICTIONS, times=evicted)

    def _paths(self, name: str) -> ModelPaths:
        return ModelPaths(self._models / name, self._locks / f"{name}.lease", self._locks / f"{name}.fetch")

    def _create_folders(self) -> None:
        folders.create_private(self._root, self._models, self._downloads, self._locks)

    def _create_download(self, partial: PartialDownload, size: int, *, lock: FileLock) -> None:
        folders.remove_abandoned(self._downloads)
        self._make_space(size)
        partial.root.mkdir(mode=0o700)
        if not lock.try_acquire():
            raise RuntimeError("the lock of a new folder is held already")
        partial.lock.write_text(str(size))
        partial.folder.mkdir(mode=0o700)
        partial.files.mkdir(mode=0o700)

    def _make_space(self, size: int, *, keep: PartialDownload | None = None) -> None:
        """Evict models until `size` bytes fit, besides the download `keep`; call with the lock held."""
        if size > self.max_bytes:
            raise CacheFull(
                f"This version's files are larger than the artifact cache: {size} of {self.max_bytes} bytes. "
                "GATEWAY_CACHE_MAX_BYTES sets its size."
            )
        others = [
            PartialDownload(top) for top in self._downloads.iterdir() if keep is None or top != keep.root
        ]
        sizes = self._model_sizes()
        used = sum(sizes.values()) + sum(other.reserved_bytes() for other in others)
        # The bytes of `keep` are on the disk already.
        needed = size + sum(other.missing_bytes() for other in others) if keep is None else 0
        if disk_errors.free_bytes(self._root) + sum(sizes.values()) < needed:
            raise _disk_full_error(size)
        for paths, model_bytes in sizes.items():
            if used + size <= self.max_bytes and needed <= disk_errors.free_bytes(self._root):
                return
            if self._evict(paths):
                used -= model_bytes
        if used + size > self.max_bytes:
            raise CacheFull(
                f"The artifact cache is full of models in use: {size} bytes do not fit {self.max_bytes}. "
                "GATEWAY_CACHE_MAX_BYTES sets its size."
            )
        if needed > disk_errors.free_bytes(self._root):
            raise _disk_full_error(size)

    def _free_space(self, size: int | None) -> bool:
        evicted = False
        for paths in self._model_sizes():
            if size is not None and evicted and disk_errors.free_bytes(self._root) >= size:
                break
            evicted = self._evict(paths) or evicted
        return evicted

    def _model_sizes(self) -> dict[ModelPaths, int]:
        """Return the bytes of each cached model, the least recently used model first."""
        models = [self._paths(folder.name) for folder in self._models.iterdir()]
        return {paths: paths.size() for paths in sorted(models, key=ModelPaths.last_used)}

    def _evict(self, paths: ModelPaths) -> bool:
        lock = FileLock(paths.lease_lock)
        if not lock.try_acquire():
            return False
        try:
            stored = manifest.load_manifest(paths.manifest)
            folders.discard(paths.folder, self._downloads)
            self._evicted_count += 1
            model = stored.model if stored else "an unknown model"
            logger.info(
                "Evicted the cached files of %s",
                model,
                extra={"event": "cached_files_evicted", "model": model, "bytes": stored and stored.size},
            )
        finally:
            lock.release(remove=True)
        return True

    def _move_into_place(self, folder: Path, target: Path) -> None:
        folder.rename(target)
        manifest.fsync_folder(self._models)


def _disk_full_error(size: int) -> CacheFull:
    return CacheFull(
        f"The disk of the artifact cache is full: this version's files need {size} bytes, and no "
        "cached model can be evicted. See GATEWAY_CACHE_DIR."
    )
