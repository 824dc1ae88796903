"""Model versions' files on this machine: complete or absent, fetched once, bounded."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.artifacts import disk_errors, manifest
from gateway.artifacts.fetch_backoff import Rests
from gateway.artifacts.integrity import Intact, stamp
from gateway.artifacts.locks import held
from gateway.artifacts.progress import Meter
from gateway.artifacts.storage import Room
from gateway.artifacts.stores.base import checked, digest, joined, require_model, too_large
from gateway.artifacts.stores.factory import Stores, scheme_of
from gateway.concurrency.singleflight import Once
from gateway.concurrency.threads import digesting, in_thread
from gateway.errors import GatewayError, UpstreamSlow, kind_of
from workers.metrics import CounterSpec, Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.artifacts.layout import Partial, Place
    from gateway.artifacts.stores.base import StoredFile, Tree
    from gateway.mlflow_client import MlflowClient
    from gateway.settings import Settings
    from workers.protocol.messages import ModelKey

FETCHES: Final = CounterSpec(
    "artifact_fetches",
    "Downloads of a version's files by how they ended: fetched, refused, gone, wrong, away, slow, "
    "cache_full, cache_unusable, or failed.",
    ("outcome",),
)
FETCHED_BYTES: Final = CounterSpec(
    "artifact_fetched_bytes", "Bytes of files that were downloaded, of whatever became of them."
)
DAMAGED: Final = CounterSpec(
    "artifact_caches_damaged", "Versions whose cached files were found damaged, and were fetched again."
)

logger = logging.getLogger(__name__)
_LONGEST_SECONDS = 3600.0
_REST_SECONDS = 2.0
_FETCHES_AT_ONCE = 20


class ArtifactCache:
    """Gives out directories of model versions, fetched from their stores where they are not here.

    To be opened before use and closed afterwards; owns the stores' connections.
    """

    def __init__(
        self,
        settings: Settings,
        client: MlflowClient,
        *,
        rest: float = _REST_SECONDS,
        tally: Counters | None = None,
    ) -> None:
        """What could not be fetched is not tried again for `rest` seconds: who asks gets the same error.

        `tally` is where what happens is counted.
        """
        self._tally = tally or Counters()
        self._room = Room(settings.cache_dir, max_bytes=settings.cache_max_bytes, tally=self._tally)
        self._stores = Stores(settings, client)
        self._once: Once[ModelKey] = Once()
        self._intact = Intact()
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._rests = Rests(rest)

    async def open(self) -> None:
        """Make the cache's folder, and remove what a killed process left half done.

        Raises CacheUnusable.
        """
        with disk_errors.told():
            await self._room.open()

    async def close(self) -> None:
        """End running downloads, leaving nothing half done, and close the stores' connections."""
        await self._once.close()
        await self._stores.close()

    @asynccontextmanager
    async def lease(self, key: ModelKey, locate: Callable[[], Awaitable[str]]) -> AsyncIterator[Path]:
        """The directory of the model `key`, complete, and kept for as long as the lease is held.

        `locate` tells where its files are, and is asked only when they are not here. Raises any
        error of `locate`, ArtifactsRefused, ArtifactsGone, Upstream*, CacheFull and CacheUnusable.
        """
        place = self._room.place(key)
        async with AsyncExitStack() as stack:
            with disk_errors.told():
                await self._room.make()
                await stack.enter_async_context(held(place.lease, shared=True))
                if not await in_thread(self._intact.holds, key, place.folder):
                    await self._once.do(key, lambda: self._here(key, place, locate=locate))
                await in_thread(os.utime, place.lease)
            yield place.files

    async def has(self, key: ModelKey) -> bool:
        """Whether the model's files are here, as far as that can be told without reading them.

        Raises CacheUnusable, and, for a moment, what came of a download that has just failed.
        """
        place = self._room.place(key)
        with disk_errors.told():
            here = await in_thread(os.path.lexists, place.manifest)
        if not here:
            self._rests.check(key)
        return here

    async def read(
        self, key: ModelKey, locate: Callable[[], Awaitable[str]], path: str, *, limit: int = 1 << 20
    ) -> bytes | None:
        """One small file of the model `key`, without fetching the rest; None where there is none.

        Raises what `lease` does, and UpstreamWrong where the file has more than `limit` bytes.
        """
        place = self._room.place(key)
        with disk_errors.told():
            known = await in_thread(manifest.load, place.manifest)
            if known is not None:
                file = known.file(checked(path))
                if file is None:
                    return None
                if file.size > limit:
                    raise too_large(path, limit)
                content = await in_thread(_content, place, file)
                if content is not None:
                    return content
            uri = await locate()
            return await self._stores.of(uri).read(uri, path, limit=limit)

    async def _here(self, key: ModelKey, place: Place, *, locate: Callable[[], Awaitable[str]]) -> None:
        self._rests.check(key)
        try:
            with disk_errors.told():
                await self._ensure(key, place, locate=locate)
        except GatewayError as error:
            if not disk_errors.is_of_the_moment(error):
                self._rests.begin(key, error)
            raise

    async def _ensure(self, key: ModelKey, place: Place, *, locate: Callable[[], Awaitable[str]]) -> None:
        # One process at a time fetches; the others wait here and find the files. A lease cannot be
        # the lock for it: the winner goes on to hold its lease for as long as it serves.
        async with held(place.fetching, remove=True):
            problem = await self._verified(key, place)
            if problem is None:
                return
            if problem:
                logger.error("the cached files of %s are damaged and fetched again: %s", key, problem)
                self._tally.increment(DAMAGED)
                await self._room.discard(place)
            async with self._fetches:
                await self._counted(key, place, locate=locate)
            self._intact.note(key, await in_thread(stamp, place.folder))

    async def _verified(self, key: ModelKey, place: Place) -> str | None:
        """What is wrong with the files, empty where there are none, None where they are intact."""
        if await in_thread(self._intact.holds, key, place.folder):
            return None
        known = await in_thread(manifest.load, place.manifest)
        if known is None:
            there = await in_thread(os.path.lexists, place.folder)
            return "there is no manifest that can be read" if there else ""
        return await digesting(self._digested, key, place, known=known)

    def _digested(self, key: ModelKey, place: Place, *, known: manifest.Manifest) -> str | None:
        before = stamp(place.folder)
        problem = known.problem(place.files)
        if problem is None:
            removed = _tidied(key, known.strangers(place.files))
            self._intact.note(key, frozenset(entry for entry in before if entry[0] not in removed))
        return problem

    async def _counted(self, key: ModelKey, place: Place, *, locate: Callable[[], Awaitable[str]]) -> None:
        try:
            with disk_errors.told():
                await self._fetch(key, place, uri=await locate())
        except Exception as error:
            self._tally.increment(FETCHES, kind_of(error))
            raise
        self._tally.increment(FETCHES, "fetched")

    async def _fetch(self, key: ModelKey, place: Place, *, uri: str) -> None:
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                tree = await self._stores.of(uri).find(uri)
                try:
                    await self._fetched(key, place, tree=tree, where=scheme_of(uri))
                except OSError as error:
                    if not disk_errors.is_full(error) or not await self._room.relieve(tree.size):
                        raise
                    await self._fetched(key, place, tree=tree, where=scheme_of(uri))
        except TimeoutError as error:
            raise UpstreamSlow("This version's files could not be fetched in time.") from error

    async def _fetched(self, key: ModelKey, place: Place, *, tree: Tree, where: str) -> None:
        async with self._room.partial(tree.size or 0) as partial:
            size = await self._fill(key, partial, tree=tree, where=where)
            await self._room.settle(partial, place, size=size)

    async def _fill(self, key: ModelKey, partial: Partial, *, tree: Tree, where: str) -> int:
        meter = Meter(f"fetching {key}", total=tree.size, limit=self._room.max_bytes)
        meter.start(where)
        try:
            files = await tree.fetch(partial.files, meter)
        finally:
            self._tally.increment(FETCHED_BYTES, times=meter.done)
        require_model(file.path for file in files)
        content = manifest.Manifest(str(key), files)
        await in_thread(content.write, partial.manifest)
        meter.end()
        return content.size


def _tidied(key: ModelKey, strangers: list[Path]) -> set[str]:
    """The paths of `strangers`, which are removed: a module put beside the model's own would be imported."""
    for path in strangers:
        path.unlink(missing_ok=True)
    # Python itself leaves its byte code there where a model brings code of its own.
    told = [path for path in strangers if "__pycache__" not in path.parts]
    if told:
        logger.warning("the cached files of %s had %d beside them that were removed", key, len(told))
    return {str(path) for path in strangers}


def _content(place: Place, file: StoredFile) -> bytes | None:
    """The file as it was stored; None where it is damaged, or gone meanwhile."""
    path = joined(place.files, file.path)
    try:
        if digest(path) != file.sha256:
            return None
        return path.read_bytes()
    except OSError:
        return None
