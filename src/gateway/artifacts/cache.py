"""Model versions' files on this machine: complete or absent, fetched once, bounded."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.artifacts import disk_errors, manifest
from gateway.artifacts.fetch_backoff import FetchBackoff
from gateway.artifacts.integrity import VerifiedFiles, stat_fingerprint
from gateway.artifacts.locks import hold_lock
from gateway.artifacts.progress import DownloadProgress
from gateway.artifacts.storage import CacheDirectory
from gateway.artifacts.stores.base import (
    digest_file,
    file_too_large_error,
    require_model,
    safe_join,
    safe_path,
)
from gateway.artifacts.stores.factory import StoreFactory, uri_scheme
from gateway.concurrency.singleflight import SingleFlight
from gateway.concurrency.threads import in_digest_thread, in_thread
from gateway.errors import GatewayError, UpstreamTimeout, error_kind
from workers.metrics import Counters, CounterSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.artifacts.layout import ModelPaths, PartialDownload
    from gateway.artifacts.stores.base import RemoteModel, StoredFile
    from gateway.mlflow_client import MlflowClient
    from gateway.settings import Settings
    from workers.protocol.messages import ModelKey

DOWNLOADS: Final = CounterSpec(
    "artifact_fetches",
    "Downloads of a version's files by how they ended: fetched, refused, gone, wrong, away, slow, "
    "cache_full, cache_unusable, or failed.",
    ("outcome",),
)
DOWNLOADED_BYTES: Final = CounterSpec(
    "artifact_fetched_bytes", "Bytes of files that were downloaded, of whatever became of them."
)
CACHE_CORRUPTIONS: Final = CounterSpec(
    "artifact_caches_damaged", "Versions whose cached files were found damaged, and were fetched again."
)

logger = logging.getLogger(__name__)
_DOWNLOAD_TIMEOUT_SECONDS = 3600.0
_BACKOFF_SECONDS = 2.0
_MAX_CONCURRENT_DOWNLOADS = 20


class ArtifactCache:
    """Gives out directories of model versions, fetched from their stores where they are not here.

    To be opened before use and closed afterwards; owns the stores' connections.
    """

    def __init__(
        self,
        settings: Settings,
        client: MlflowClient,
        *,
        backoff: float = _BACKOFF_SECONDS,
        counters: Counters | None = None,
    ) -> None:
        """What could not be fetched is not tried again for `rest` seconds: who asks gets the same error.

        `tally` is where what happens is counted.
        """
        self._counters = counters or Counters()
        self._directory = CacheDirectory(
            settings.cache_dir, max_bytes=settings.cache_max_bytes, counters=self._counters
        )
        self._stores = StoreFactory(settings, client)
        self._single_flight: SingleFlight[ModelKey] = SingleFlight()
        self._verified_files = VerifiedFiles()
        self._download_slots = asyncio.Semaphore(_MAX_CONCURRENT_DOWNLOADS)
        self._fetch_backoff = FetchBackoff(backoff)

    async def open(self) -> None:
        """Make the cache's folder, and remove what a killed process left half done.

        Raises CacheUnusable.
        """
        with disk_errors.translate_os_errors():
            await self._directory.open()

    async def close(self) -> None:
        """End running downloads, leaving nothing half done, and close the stores' connections."""
        await self._single_flight.close()
        await self._stores.close()

    @asynccontextmanager
    async def lease(self, key: ModelKey, locate: Callable[[], Awaitable[str]]) -> AsyncIterator[Path]:
        """The directory of the model `key`, complete, and kept for as long as the lease is held.

        `locate` tells where its files are, and is asked only when they are not here. Raises any
        error of `locate`, ArtifactsRefused, ArtifactsGone, Upstream*, CacheFull and CacheUnusable.
        """
        place = self._directory.paths(key)
        async with AsyncExitStack() as stack:
            with disk_errors.translate_os_errors():
                await self._directory.ensure_exists()
                await stack.enter_async_context(hold_lock(place.lease_lock, shared=True))
                if not await in_thread(self._verified_files.is_unchanged, key, place.folder):
                    await self._single_flight.do(key, lambda: self._ensure_present(key, place, locate=locate))
                await in_thread(os.utime, place.lease_lock)
            yield place.files

    async def has(self, key: ModelKey) -> bool:
        """Whether the model's files are here, as far as that can be told without reading them.

        Raises CacheUnusable, and, for a moment, what came of a download that has just failed.
        """
        place = self._directory.paths(key)
        with disk_errors.translate_os_errors():
            here = await in_thread(os.path.lexists, place.manifest)
        if not here:
            self._fetch_backoff.raise_if_active(key)
        return here

    async def read_file(
        self, key: ModelKey, locate: Callable[[], Awaitable[str]], path: str, *, limit: int = 1 << 20
    ) -> bytes | None:
        """One small file of the model `key`, without fetching the rest; None where there is none.

        Raises what `lease` does, and UpstreamWrong where the file has more than `limit` bytes.
        """
        place = self._directory.paths(key)
        with disk_errors.translate_os_errors():
            known = await in_thread(manifest.load_manifest, place.manifest)
            if known is not None:
                file = known.find_file(safe_path(path))
                if file is None:
                    return None
                if file.size > limit:
                    raise file_too_large_error(path, limit)
                content = await in_thread(_read_verified, place, file)
                if content is not None:
                    return content
            uri = await locate()
            return await self._stores.for_uri(uri).read(uri, path, limit=limit)

    async def _ensure_present(
        self, key: ModelKey, place: ModelPaths, *, locate: Callable[[], Awaitable[str]]
    ) -> None:
        self._fetch_backoff.raise_if_active(key)
        try:
            with disk_errors.translate_os_errors():
                await self._verify_or_download(key, place, locate=locate)
        except GatewayError as error:
            if not disk_errors.is_transient(error):
                self._fetch_backoff.record(key, error)
            raise

    async def _verify_or_download(
        self, key: ModelKey, place: ModelPaths, *, locate: Callable[[], Awaitable[str]]
    ) -> None:
        # One process at a time fetches; the others wait here and find the files. A lease cannot be
        # the lock for it: the winner goes on to hold its lease for as long as it serves.
        async with hold_lock(place.download_lock, remove=True):
            problem = await self._verify(key, place)
            if problem is None:
                return
            if problem:
                logger.error("the cached files of %s are damaged and fetched again: %s", key, problem)
                self._counters.increment(CACHE_CORRUPTIONS)
                await self._directory.discard(place)
            async with self._download_slots:
                await self._download_counted(key, place, locate=locate)
            self._verified_files.record(key, await in_thread(stat_fingerprint, place.folder))

    async def _verify(self, key: ModelKey, place: ModelPaths) -> str | None:
        """What is wrong with the files, empty where there are none, None where they are intact."""
        if await in_thread(self._verified_files.is_unchanged, key, place.folder):
            return None
        known = await in_thread(manifest.load_manifest, place.manifest)
        if known is None:
            there = await in_thread(os.path.lexists, place.folder)
            return "there is no manifest that can be read" if there else ""
        return await in_digest_thread(self._verify_digests, key, place, known=known)

    def _verify_digests(self, key: ModelKey, place: ModelPaths, *, known: manifest.Manifest) -> str | None:
        before = stat_fingerprint(place.folder)
        problem = known.verify(place.files)
        if problem is None:
            removed = _remove_unexpected(key, known.unexpected_files(place.files))
            self._verified_files.record(key, frozenset(entry for entry in before if entry[0] not in removed))
        return problem

    async def _download_counted(
        self, key: ModelKey, place: ModelPaths, *, locate: Callable[[], Awaitable[str]]
    ) -> None:
        try:
            with disk_errors.translate_os_errors():
                await self._download(key, place, uri=await locate())
        except Exception as error:
            self._counters.increment(DOWNLOADS, error_kind(error))
            raise
        self._counters.increment(DOWNLOADS, "fetched")

    async def _download(self, key: ModelKey, place: ModelPaths, *, uri: str) -> None:
        try:
            async with asyncio.timeout(_DOWNLOAD_TIMEOUT_SECONDS):
                tree = await self._stores.for_uri(uri).find(uri)
                try:
                    await self._download_and_publish(key, place, tree=tree, where=uri_scheme(uri))
                except OSError as error:
                    if not disk_errors.is_disk_full(error) or not await self._directory.free_space(tree.size):
                        raise
                    await self._download_and_publish(key, place, tree=tree, where=uri_scheme(uri))
        except TimeoutError as error:
            raise UpstreamTimeout("This version's files could not be fetched in time.") from error

    async def _download_and_publish(
        self, key: ModelKey, place: ModelPaths, *, tree: RemoteModel, where: str
    ) -> None:
        async with self._directory.begin_download(tree.size or 0) as partial:
            size = await self._download_files(key, partial, tree=tree, where=where)
            await self._directory.publish(partial, place, size=size)

    async def _download_files(
        self, key: ModelKey, partial: PartialDownload, *, tree: RemoteModel, where: str
    ) -> int:
        meter = DownloadProgress(f"fetching {key}", total=tree.size, limit=self._directory.max_bytes)
        meter.start(where)
        try:
            files = await tree.fetch(partial.files, meter)
        finally:
            self._counters.increment(DOWNLOADED_BYTES, times=meter.done_bytes)
        require_model(file.path for file in files)
        content = manifest.Manifest(str(key), files)
        await in_thread(content.write, partial.manifest)
        meter.finish()
        return content.size


def _remove_unexpected(key: ModelKey, strangers: list[Path]) -> set[str]:
    """The paths of `strangers`, which are removed: a module put beside the model's own would be imported."""
    for path in strangers:
        path.unlink(missing_ok=True)
    # Python itself leaves its byte code there where a model brings code of its own.
    told = [path for path in strangers if "__pycache__" not in path.parts]
    if told:
        logger.warning("the cached files of %s had %d beside them that were removed", key, len(told))
    return {str(path) for path in strangers}


def _read_verified(place: ModelPaths, file: StoredFile) -> bytes | None:
    """The file as it was stored; None where it is damaged, or gone meanwhile."""
    path = safe_join(place.files, file.path)
    try:
        if digest_file(path) != file.sha256:
            return None
        return path.read_bytes()
    except OSError:
        return None
