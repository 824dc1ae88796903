"""The artifact cache: model versions' files on this machine, complete or absent, downloaded once, bounded."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from gateway.artifacts import disk_errors, manifest
from gateway.artifacts.fetch_backoff import FetchBackoff
from gateway.artifacts.locks import LOCK_SECONDS, hold_lock, signs_of_life
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
from gateway.artifacts.verification import FileVerifier
from gateway.concurrency.singleflight import SingleFlight
from gateway.concurrency.threads import in_thread
from gateway.errors import GatewayError, UpstreamTimeout, error_kind
from workers.metrics import Counters, CounterSpec, HistogramSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.artifacts.layout import ModelPaths, PartialDownload
    from gateway.artifacts.stores.base import RemoteModel, StoredFile
    from gateway.mlflow_client import MlflowClient
    from gateway.settings import Settings
    from workers.protocol.messages import ModelKey

DOWNLOADS: Final = CounterSpec(
    "artifact_downloads",
    "Downloads of a version's files by outcome: ok, forbidden, not_found, bad_response, unavailable, "
    "timeout, cache_full, cache_unusable or failed.",
    ("outcome",),
)
DOWNLOADED_BYTES: Final = CounterSpec(
    "artifact_downloaded_bytes", "Bytes of files that were downloaded, including failed downloads."
)
CACHE_CORRUPTIONS: Final = CounterSpec(
    "artifact_cache_corruptions", "Versions whose cached files were damaged and were downloaded again."
)
DOWNLOAD_DURATION: Final = HistogramSpec(
    "artifact_download_duration_seconds",
    "Seconds that the downloads of a version's files took, by outcome: ok or failed.",
    ("outcome",),
)

logger = logging.getLogger(__name__)
_DOWNLOAD_TIMEOUT_SECONDS = 3600.0
_BACKOFF_SECONDS = 2.0
_MAX_CONCURRENT_DOWNLOADS = 20


class ArtifactCache:
    """A cache of model versions' folders that downloads missing ones from their stores.

    Open it before use and close it afterwards; it owns the stores' connections.
    """

    def __init__(
        self,
        settings: Settings,
        client: MlflowClient,
        *,
        backoff: float = _BACKOFF_SECONDS,
        workers_cannot_write: bool = False,
        lock_seconds: float = LOCK_SECONDS,
        counters: Counters | None = None,
    ) -> None:
        """For `backoff` seconds after a failed download, raise the same error without another attempt.

        If `workers_cannot_write` in the cache's folder, each model's files are verified once, not again at
        each lease, and files from a time when workers could write there are not used. Wait at most
        `lock_seconds` for another process that holds a lock and does nothing.
        """
        self._counters = counters or Counters()
        self._lock_seconds = lock_seconds
        self._directory = CacheDirectory(
            settings.cache_dir,
            max_bytes=settings.cache_max_bytes,
            counters=self._counters,
            marks=_marks(settings, workers_cannot_write=workers_cannot_write),
            lock_seconds=lock_seconds,
        )
        self._stores = StoreFactory(settings, client)
        self._single_flight: SingleFlight[ModelKey] = SingleFlight()
        self._verifier = FileVerifier(
            settings.cache_key.get_secret_value(), only_folders=workers_cannot_write
        )
        self._download_slots = asyncio.Semaphore(_MAX_CONCURRENT_DOWNLOADS)
        self._fetch_backoff: FetchBackoff[ModelKey] = FetchBackoff(backoff)

    @property
    def models_folder(self) -> Path:
        """The folder with the files of all models."""
        return self._directory.models_folder

    async def open(self) -> None:
        """Create the cache's folder and remove partial downloads of ended processes; raise CacheUnusable."""
        with disk_errors.translate_os_errors():
            await self._directory.open()

    async def close(self) -> None:
        """Cancel running downloads, remove their partial files, and close the stores' connections."""
        await self._single_flight.close()
        await self._stores.close()

    @asynccontextmanager
    async def lease(self, key: ModelKey, locate: Callable[[], Awaitable[str]]) -> AsyncIterator[Path]:
        """Yield the complete folder of the model `key`, which is not evicted during the block.

        `locate` returns the URI of its files and is called only if they are not cached. Raise any error
        of `locate`, ArtifactLocationForbidden, ArtifactsNotFound, BadUpstreamResponse,
        UpstreamUnavailable, UpstreamTimeout, CacheFull or CacheUnusable.
        """
        paths = self._directory.paths(key)
        async with AsyncExitStack() as stack:
            with disk_errors.translate_os_errors():
                await self._directory.ensure_exists()
                lock = hold_lock(paths.lease_lock, shared=True, limit=self._lock_seconds)
                await stack.enter_async_context(lock)
                if not await self._verifier.is_unchanged(key, paths):
                    await self._single_flight.do(key, lambda: self._ensure_present(key, paths, locate=locate))
                await in_thread(os.utime, paths.lease_lock)
            yield paths.files

    async def has(self, key: ModelKey) -> bool:
        """Return whether the model's files are cached, without verifying them.

        Raise CacheUnusable, or the error of a download that has just failed.
        """
        paths = self._directory.paths(key)
        with disk_errors.translate_os_errors():
            cached = await in_thread(os.path.lexists, paths.manifest)
        if not cached:
            self._fetch_backoff.raise_if_active(key)
        return cached

    async def read_file(
        self, key: ModelKey, locate: Callable[[], Awaitable[str]], path: str, *, limit: int = 1 << 20
    ) -> bytes | None:
        """Return one small file of the model `key` without downloading the others; None if it does not exist.

        Raise what `lease` raises, and BadUpstreamResponse if the file has more than `limit` bytes.
        """
        paths = self._directory.paths(key)
        with disk_errors.translate_os_errors():
            stored = await in_thread(manifest.load_manifest, paths.manifest)
            if stored is not None and await in_thread(self._verifier.distrust, key, paths, stored) is None:
                file = stored.find_file(safe_path(path))
                if file is None:
                    return None
                if file.size > limit:
                    raise file_too_large_error(path, limit)
                content = await in_thread(_read_verified, paths, file)
                if content is not None:
                    return content
            uri = await locate()
            return await self._stores.for_uri(uri).read(uri, path, limit=limit)

    async def _ensure_present(
        self, key: ModelKey, paths: ModelPaths, *, locate: Callable[[], Awaitable[str]]
    ) -> None:
        self._fetch_backoff.raise_if_active(key)
        try:
            with disk_errors.translate_os_errors():
                await self._verify_or_download(key, paths, locate=locate)
        except GatewayError as error:
            if not disk_errors.is_transient(error):
                self._fetch_backoff.record(key, error)
            raise

    async def _verify_or_download(
        self, key: ModelKey, paths: ModelPaths, *, locate: Callable[[], Awaitable[str]]
    ) -> None:
        # One process downloads; the others wait for this lock and then find the files. The lease lock
        # cannot serve for this, because every process holds it for as long as it serves the model.
        async with (
            hold_lock(
                paths.download_lock,
                remove=True,
                limit=self._lock_seconds,
                longest=2 * _DOWNLOAD_TIMEOUT_SECONDS,  # it may itself have waited for its turn
            ),
            signs_of_life(paths.download_lock),
        ):
            problem = await self._verifier.find_problem(key, paths)
            if problem is None:
                return
            if problem:
                logger.error(
                    "The cached files of %s are damaged; downloading them again: %s",
                    key,
                    problem,
                    extra={"event": "cached_files_damaged", "model": str(key), "problem": problem},
                )
                self._counters.increment(CACHE_CORRUPTIONS)
                await self._directory.discard(paths)
            async with self._download_slots:
                await self._download_counted(key, paths, locate=locate)
            await self._verifier.record_files(key, paths)

    async def _download_counted(
        self, key: ModelKey, paths: ModelPaths, *, locate: Callable[[], Awaitable[str]]
    ) -> None:
        started = perf_counter()
        try:
            with disk_errors.translate_os_errors():
                await self._download(key, paths, uri=await locate())
        except Exception as error:
            self._counters.increment(DOWNLOADS, error_kind(error))
            self._counters.observe(DOWNLOAD_DURATION, "failed", value=perf_counter() - started)
            _log_failure(key, error)
            raise
        self._counters.increment(DOWNLOADS, "ok")
        self._counters.observe(DOWNLOAD_DURATION, "ok", value=perf_counter() - started)

    async def _download(self, key: ModelKey, paths: ModelPaths, *, uri: str) -> None:
        try:
            async with asyncio.timeout(_DOWNLOAD_TIMEOUT_SECONDS):
                model = await self._stores.for_uri(uri).find(uri)
                try:
                    await self._download_and_publish(key, paths, model=model, scheme=uri_scheme(uri))
                except OSError as error:
                    if not disk_errors.is_disk_full(error) or not await self._directory.free_space(
                        model.size
                    ):
                        raise
                    await self._download_and_publish(key, paths, model=model, scheme=uri_scheme(uri))
        except TimeoutError as error:
            raise UpstreamTimeout("This version's files could not be downloaded in time.") from error

    async def _download_and_publish(
        self, key: ModelKey, paths: ModelPaths, *, model: RemoteModel, scheme: str
    ) -> None:
        async with self._directory.begin_download(model.size or 0) as partial:
            content = await self._download_files(key, partial, model=model, scheme=scheme)
            content = self._verifier.sign(content, paths)
            await in_thread(content.write, partial.manifest)
            await self._directory.publish(partial, paths, size=content.size)
        self._verifier.record_manifest(key, content)

    async def _download_files(
        self, key: ModelKey, partial: PartialDownload, *, model: RemoteModel, scheme: str
    ) -> manifest.Manifest:
        progress = DownloadProgress(str(key), total=model.size, limit=self._directory.max_bytes)
        progress.start(scheme)
        try:
            files = await model.fetch(partial.files, progress)
        finally:
            self._counters.increment(DOWNLOADED_BYTES, times=progress.done_bytes)
        require_model(file.path for file in files)
        progress.finish()
        return manifest.Manifest(str(key), files)


def _log_failure(key: ModelKey, error: Exception) -> None:
    reason = str(error) if isinstance(error, GatewayError) else type(error).__name__
    extra = {"event": "artifact_download_failed", "model": str(key), "reason": reason}
    logger.warning("The files of %s could not be downloaded: %s", key, reason, extra=extra)


def _marks(settings: Settings, *, workers_cannot_write: bool) -> list[str]:
    """Return what sets this gateway's cached models apart from those of others with the same folder."""
    key = settings.cache_key.get_secret_value()
    return [
        *(
            ["own"] if settings.effective_source_check == "own" else []
        ),  # others may hold files that this one refuses
        *(["walled"] if workers_cannot_write else []),
        *([f"signed {manifest.key_id(key)}"] if key else []),
    ]


def _read_verified(paths: ModelPaths, file: StoredFile) -> bytes | None:
    """Return the file's content, or None if it is damaged or was removed meanwhile."""
    path = safe_join(paths.files, file.path)
    try:
        if digest_file(path) != file.sha256:
            return None
        return path.read_bytes()
    except OSError:
        return None
