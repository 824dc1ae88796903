"""Builds the documents of versions, away from the event loop, and keeps them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.api.schema.document import Described, VersionDocument, build_document
from gateway.api.schema.template import Template
from gateway.concurrency.singleflight import SingleFlight

if TYPE_CHECKING:
    from workers.protocol.messages import ModelKey

_MAX_CACHED_BYTES: Final = 32 * 2**20
_ENTRY_BYTES: Final = 2048


class VersionDocuments:
    """The documents of versions, each built once while it is in use.

    Clients write signatures, so one thread builds them, one at a time: no signature,
    however long, delays more than the documents of other versions.
    """

    def __init__(self, main_document: bytes, *, max_cached_bytes: int = _MAX_CACHED_BYTES) -> None:
        """Take from the gateway's own OpenAPI document what all documents share."""
        self._template = Template.from_document(main_document)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="documents")
        self._single_flight: SingleFlight[ModelKey] = SingleFlight()
        self._built: LRUCache[ModelKey, tuple[Described, VersionDocument]] = LRUCache(
            max_cached_bytes, getsizeof=lambda entry: len(entry[1].rest) + _ENTRY_BYTES
        )

    async def get(self, described: Described) -> VersionDocument:
        """Return the document of a version as it is described now."""
        known = self._built.get(described.key)
        if known is not None and _is_same(known[0], described):
            return known[1]
        return await self._single_flight.do(described.key, lambda: self._build(described))

    async def close(self) -> None:
        """Cancel what waits to be built, and end the thread."""
        await self._single_flight.close()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _build(self, described: Described) -> VersionDocument:
        build = partial(build_document, described, self._template)
        document = await asyncio.get_running_loop().run_in_executor(self._thread, build)
        if len(document.rest) <= self._built.maxsize // 2:
            self._built[described.key] = (described, document)
        return document


def _is_same(known: Described, described: Described) -> bool:
    """Return whether both have the same files, as these are parsed once while they are in use."""
    return (
        known.mlmodel is described.mlmodel
        and known.example is described.example
        and known.source == described.source
        and known.checks_by_mlflow == described.checks_by_mlflow
    )
