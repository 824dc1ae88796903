"""The environments on this machine: complete or absent, shared by processes, bounded, kept while in use."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.artifacts import folders
from gateway.artifacts.layout import remove_tree
from gateway.artifacts.locks import LOCK_SECONDS, FileLock, hold_lock, signs_of_life
from gateway.artifacts.manifest import fsync_folder
from gateway.concurrency.threads import in_thread
from gateway.environments import blocks, local_wheels, uv_cache
from gateway.environments.layout import (
    EnvironmentManifest,
    EnvironmentPaths,
    PartialEnvironment,
    load_manifest,
)
from gateway.errors import CacheFull, CacheUnusable
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.environments.blocks import Blocks
    from workers.metrics import Counters

    Build = Callable[[PartialEnvironment], Awaitable[EnvironmentManifest]]

EVICTIONS: Final = CounterSpec(
    "environment_evictions", "Environments that were removed to free space for others."
)

logger = logging.getLogger(__name__)
_LAYOUT_VERSION: Final = "v1"
_START_LOCK_SECONDS: Final = 10.0
_MEASURE_SECONDS: Final = 60.0
_TRUST_SECONDS: Final = 600.0


class EnvironmentStore:
    """A folder of environments, which several gateways may share.

    They and uv's cache, if it is in this folder, take at most `max_bytes` bytes of disk. A leased environment
    is never removed; of the others the least recently used is removed first.
    """

    def __init__(
        self, top: Path, *, max_bytes: int, counters: Counters, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        self._root = top / _LAYOUT_VERSION
        self._environments = self._root / "environments"
        self._partials = self._root / "partial"
        self._locks = self._root / "locks"
        self._lock_path = self._root / "store.lock"
        self.resolved = self._root / "resolved"
        self.wheels = self._root / "wheels"
        self.uv_cache = self._root / "uv-cache"
        self._max_bytes = max_bytes
        self._counters = counters
        self._lock_seconds = lock_seconds
        self._verified: set[str] = set()
        self._rejected: set[str] = set()
        self._measured = (0.0, 0)
        self._added = 0
        self._evicted_count = 0

    async def open(self) -> None:
        """Create the folders, and remove what ended processes left; leave that if a lock is held for long."""
        await self.ensure_exists()
        try:
            async with hold_lock(self._lock_path, limit=min(_START_LOCK_SECONDS, self._lock_seconds)):
                await in_thread(self._remove_abandoned)
        except CacheUnusable:
            logger.warning(
                "The folder of environments is locked: none can be built until the lock is released",
                extra={"event": "environments_locked_at_start"},
            )

    async def ensure_exists(self) -> None:
        """Create the folders that do not exist."""
        await in_thread(
            folders.create_private,
            self._root,
            self._environments,
            self._partials,
            self._locks,
            self.resolved,
            self.wheels,
            self.uv_cache,
        )

    def paths(self, digest: str) -> EnvironmentPaths:
        """Return the paths of the environment with this digest."""
        return EnvironmentPaths(
            self._environments / digest, self._locks / f"{digest}.lease", self._locks / f"{digest}.build"
        )

    def lock_path(self, name: str) -> Path:
        """Return the path of the lock for what has this name, such as the digest of a recipe."""
        return self._locks / f"{name}.lock"

    @asynccontextmanager
    async def lease(self, digest: str, build: Build, *, longest: float) -> AsyncIterator[EnvironmentPaths]:
        """Yield the complete environment, which is not removed during the block; build it if it is absent.

        One process builds; the others wait at most `longest` seconds for it. Raise what `build` raises,
        OSError, CacheFull or CacheUnusable.
        """
        paths = self.paths(digest)
        async with hold_lock(paths.lease_lock, shared=True, limit=self._lock_seconds):
            if not await self.is_complete(digest):
                await self._build_once(paths, digest, build=build, longest=longest)
            await in_thread(os.utime, paths.lease_lock)
            yield paths

    async def is_complete(self, digest: str) -> bool:
        """Return whether the environment is here as a whole. Its files are counted once in each process."""
        return await in_thread(self._is_complete, self.paths(digest))

    def reject(self, digest: str) -> None:
        """Have the next lease build an environment anew, though it looks complete."""
        self._rejected.add(digest)

    async def free_space(self) -> bool:
        """Remove the least recently used environment that no process leases, and what uv's cache has.

        Return whether anything was removed.
        """
        async with self._hold_lock():
            return await in_thread(self._free_space)

    async def size_bytes(self) -> int:
        """Return the bytes of disk that all of this takes, as measured within the last minute."""
        at, size = self._measured
        if not at or monotonic() - at > _MEASURE_SECONDS:
            size = await in_thread(lambda: sum(blocks.blocks_of(self._root).values()))
            self._measured, self._added = (monotonic(), size), 0
        return size

    async def _build_once(
        self, paths: EnvironmentPaths, digest: str, *, build: Build, longest: float
    ) -> None:
        lock = hold_lock(paths.build_lock, remove=True, limit=self._lock_seconds, longest=longest)
        async with lock, signs_of_life(paths.build_lock):
            if await self.is_complete(digest):
                return
            async with self._begin() as partial:
                manifest = await build(partial)
                await self._publish(partial, paths, manifest=manifest)

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[PartialEnvironment]:
        """Yield a new folder, locked as long as this process runs, and remove it afterwards."""
        partial = PartialEnvironment(self._partials / secrets.token_hex(16))
        lock = FileLock(partial.top / folders.PARTIAL_LOCK)
        try:
            async with self._hold_lock():
                await in_thread(self._create_partial, partial, lock)
            yield partial
        finally:
            await in_thread(remove_tree, partial.top)
            await in_thread(lock.release)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """Yield a new folder for what a step needs alone, and remove it afterwards."""
        async with self._begin() as partial:
            yield partial.scratch

    def _create_partial(self, partial: PartialEnvironment, lock: FileLock) -> None:
        folders.remove_abandoned(self._partials)
        partial.top.mkdir(mode=0o700)
        if not lock.try_acquire():
            raise RuntimeError("the lock of a new folder is held already")
        partial.folder.mkdir(mode=0o700)
        partial.scratch.mkdir(mode=0o700)

    async def _publish(
        self, partial: PartialEnvironment, paths: EnvironmentPaths, *, manifest: EnvironmentManifest
    ) -> None:
        async with self._hold_lock():
            await in_thread(local_wheels.remove_unused, self.wheels, self._partials)
            if not self._fits_surely(manifest):
                await in_thread(self._make_space, partial)
            await in_thread(self._move_into_place, partial, paths, manifest=manifest)

    def _fits_surely(self, manifest: EnvironmentManifest) -> bool:
        """Return whether it fits even if it shares no file, by a measurement of less than ten minutes ago.

        To measure is to look at tens of thousands of files.
        """
        (at, size), new = self._measured, manifest.files[1]
        self._added += new
        return bool(at) and monotonic() - at < _TRUST_SECONDS and size + self._added <= self._max_bytes

    def _move_into_place(
        self, partial: PartialEnvironment, paths: EnvironmentPaths, *, manifest: EnvironmentManifest
    ) -> None:
        folders.discard(paths.folder, self._partials)  # one that is damaged
        manifest.write(partial.manifest)
        fsync_folder(partial.folder)
        partial.folder.rename(paths.folder)
        fsync_folder(self._environments)
        self._verified.add(manifest.digest)
        self._rejected.discard(manifest.digest)

    def _make_space(self, partial: PartialEnvironment) -> None:
        """Remove environments until all fit with `partial`; raise CacheFull. Call with the lock held.

        uv's cache keeps what it shares with them. So what the cache alone has goes too.
        """
        new, cache = blocks.blocks_of(partial.folder), blocks.blocks_of(self.uv_cache)
        others = {paths: blocks.blocks_of(paths.folder) for paths in self._by_last_use()}
        if blocks.total_bytes([new, cache, *others.values()]) <= self._max_bytes:
            return
        if blocks.total_bytes([new, *others.values()]) > self._max_bytes:
            self._evict_until_fitting(new, others)
        uv_cache.prune(self.uv_cache, self._partials)

    def _evict_until_fitting(self, new: Blocks, others: dict[EnvironmentPaths, Blocks]) -> None:
        if sum(new.values()) > self._max_bytes:
            raise CacheFull(
                f"This version's environment takes {sum(new.values())} bytes, more than all may: "
                "GATEWAY_ENVIRONMENTS_MAX_BYTES."
            )
        for paths in list(others):
            if self._evict(paths):
                del others[paths]
                if blocks.total_bytes([new, *others.values()]) <= self._max_bytes:
                    return
        raise CacheFull(
            "The environments of the models in use leave no space for another one: "
            "GATEWAY_ENVIRONMENTS_MAX_BYTES."
        )

    def _remove_abandoned(self) -> None:
        """Remove what ended builds have left; call with the lock held."""
        folders.remove_abandoned(self._partials)
        uv_cache.remove_interrupted(self.uv_cache)
        local_wheels.remove_unused(self.wheels, self._partials)

    def _by_last_use(self) -> list[EnvironmentPaths]:
        found = [self.paths(folder.name) for folder in self._environments.iterdir()]
        return sorted(found, key=EnvironmentPaths.last_used)

    def _free_space(self) -> bool:
        evicted = any(self._evict(paths) for paths in self._by_last_use())
        return uv_cache.prune(self.uv_cache, self._partials) or evicted  # it has the same files

    def _evict(self, paths: EnvironmentPaths) -> bool:
        lock = FileLock(paths.lease_lock)
        if not lock.try_acquire():
            return False
        try:
            folders.discard(paths.folder, self._partials)
            self._verified.discard(paths.folder.name)
            self._evicted_count += 1
            logger.info(
                "Removed the environment %s",
                paths.folder.name[:12],
                extra={"event": "environment_evicted", "environment": paths.folder.name},
            )
        finally:
            lock.release(remove=True)
        return True

    def _is_complete(self, paths: EnvironmentPaths) -> bool:
        digest = paths.folder.name
        manifest = None if digest in self._rejected else load_manifest(paths.manifest)
        if manifest is None or manifest.digest != digest or not paths.python.exists():
            self._verified.discard(digest)
            return False
        if digest not in self._verified:
            if tuple(blocks.fingerprint(paths.root)) != manifest.files:
                logger.error(
                    "The environment %s is damaged; building it again",
                    digest[:12],
                    extra={"event": "environment_damaged", "environment": digest},
                )
                return False
            self._verified.add(digest)
        return True

    @asynccontextmanager
    async def _hold_lock(self) -> AsyncIterator[None]:
        """Hold the folder's lock; count the block's evictions afterwards, in the event loop."""
        async with hold_lock(self._lock_path, limit=self._lock_seconds):
            try:
                yield
            finally:
                evicted, self._evicted_count = self._evicted_count, 0
                if evicted:
                    self._counters.increment(EVICTIONS, times=evicted)
