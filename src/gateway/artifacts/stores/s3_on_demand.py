"""The store of `s3://` locations, of which nothing is imported before its first use."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.concurrency.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.artifacts.stores.base import IncomingFile, RemoteFile
    from gateway.artifacts.stores.s3 import S3FileStore
    from gateway.settings import S3Settings


class S3OnDemand:
    """A `FileStore` like `S3FileStore`, which it makes at the first use.

    AWS' client takes 9 MiB, and 0.1 s to import, which processes without models in S3 do without.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._store: S3FileStore | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the store if it was used."""
        if self._store is not None:
            await self._store.close()

    async def list_files(self, uri: str) -> Sequence[RemoteFile]:
        """Return every file below `uri`; an empty list if there is none."""
        return await (await self._get_store()).list_files(uri)

    @asynccontextmanager
    async def open(self, uri: str, path: str) -> AsyncIterator[IncomingFile]:
        """Open the file `path` below `uri`; raise ArtifactFileNotFound if there is none."""
        store = await self._get_store()
        async with store.open(uri, path) as incoming:
            yield incoming

    async def _get_store(self) -> S3FileStore:
        async with self._lock:  # of several first uses, one makes it
            if self._store is None:
                imported = await in_thread(_import_store)
                self._store = imported(self._settings)
        return self._store


def _import_store() -> type[S3FileStore]:
    from gateway.artifacts.stores.s3 import S3FileStore  # noqa: PLC0415 - as the class says

    return S3FileStore
