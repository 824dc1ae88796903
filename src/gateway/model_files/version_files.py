"""Reads and parses the small files of versions: one at a time, each once, and within limits."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import orjson
from cachetools import LRUCache

from gateway.concurrency.singleflight import SingleFlight
from gateway.domain import mlmodel, requirements
from gateway.domain.requirements import InstalledPackages, Requirements
from gateway.errors import BadUpstreamResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.domain.mlmodel import Mlmodel
    from gateway.domain.models import ModelVersion
    from workers.protocol.messages import ModelKey

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

logger = logging.getLogger(__name__)

_MAX_CACHED_BYTES: Final = 64 * 2**20
_ENTRY_BYTES: Final = 1024
_MAX_MISSING_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class FileKind(Generic[T_co]):
    """A file of a version by its path, the function that parses it, and one for the bytes of its result.

    `parse` raises ValueError for an invalid file.
    """

    path: str
    parse: Callable[[bytes], T_co]
    size_bytes: Callable[[Any], int]


def _validate_json(data: bytes) -> bytes:
    """Return JSON that can be read again where it stands deeper, as a part of an answer."""
    orjson.loads(data)
    orjson.loads(b"[[[[[[[[[[[[[[[[%b]]]]]]]]]]]]]]]]" % data)
    return data


MLMODEL: Final[FileKind[Mlmodel]] = FileKind(
    "MLmodel", mlmodel.parse_mlmodel, lambda parsed: parsed.size_bytes
)
REQUIREMENTS: Final[FileKind[Requirements]] = FileKind(
    "requirements.txt", requirements.parse_requirements, lambda parsed: parsed.size_bytes
)
SERVING_EXAMPLE: Final[FileKind[bytes]] = FileKind("serving_input_example.json", _validate_json, len)
EXAMPLE: Final[FileKind[bytes]] = FileKind("input_example.json", _validate_json, len)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A parsed file, or None and why it cannot be parsed; and the bytes that it takes."""

    parsed: Any
    problem: str
    size: int


class VersionFiles:
    """A reader of the parsed files of versions, which keeps what it parsed by key.

    Any user who can register a model writes these files. So they are parsed in one thread of their own: no
    file, however odd, delays more than the details of other versions. A file that does not exist is looked
    for again at the next call, since it may be uploaded yet.
    """

    def __init__(
        self, catalog: Catalog, artifacts: ArtifactCache, *, max_cached_bytes: int = _MAX_CACHED_BYTES
    ) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model-files")
        self._single_flight: SingleFlight[tuple[ModelKey, str]] = SingleFlight()
        self._entries: LRUCache[tuple[ModelKey, str], _Entry] = LRUCache(
            max_cached_bytes, getsizeof=lambda entry: entry.size + _ENTRY_BYTES
        )
        self._installed = InstalledPackages()
        self._missing: LRUCache[ModelKey, tuple[Mapping[str, str], Requirements]] = LRUCache(
            _MAX_MISSING_BYTES, getsizeof=lambda known: known[1].size_bytes + _ENTRY_BYTES
        )

    async def read(self, version: ModelVersion, kind: FileKind[T]) -> T | None:
        """Return the parsed file, None if the version does not have it.

        Raise BadUpstreamResponse for an invalid file, and what reading it from its store raises.
        """
        key = (version.key, kind.path)
        entry = self._entries.get(key)
        if entry is None:
            entry = await self._single_flight.do(key, lambda: self._read(version, kind))
        if entry.problem:
            raise BadUpstreamResponse(entry.problem)
        parsed: T | None = entry.parsed
        return parsed

    async def read_raw(self, version: ModelVersion, path: str) -> bytes | None:
        """Return the content of a file of at most 1 MiB, not kept; None if the version does not have it."""
        return await self._artifacts.read_file(version.key, lambda: self._catalog.resolve_uri(version), path)

    async def installed(self) -> Mapping[str, str]:
        """Return the versions of the packages that are installed here, by normalized name."""
        return await self._in_thread(self._installed.versions)

    async def find_missing(self, version: ModelVersion, required: Requirements) -> tuple[str, ...]:
        """Return those of the version's requirements that are not installed here."""
        key = (version.key, "missing requirements")
        return await self._single_flight.do(key, lambda: self._find_missing(version.key, required))

    async def close(self) -> None:
        """Cancel what is read or waits to be parsed, and end the thread."""
        await self._single_flight.close()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _read(self, version: ModelVersion, kind: FileKind[T]) -> _Entry:
        data = await self._artifacts.read_file(
            version.key, lambda: self._catalog.resolve_uri(version), kind.path
        )
        if data is None:
            return _Entry(None, "", 0)
        entry = await self._in_thread(partial(_parse, data, kind, version.key))
        if entry.size <= self._entries.maxsize // 2:
            self._entries[version.key, kind.path] = entry
        return entry

    async def _find_missing(self, key: ModelKey, required: Requirements) -> tuple[str, ...]:
        known = self._missing.get(key)
        installed = await self._in_thread(self._installed.versions)
        if known is not None and known[0] is installed:
            return known[1].lines
        missing = await self._in_thread(partial(requirements.find_missing, required.lines, installed))
        self._missing[key] = (installed, Requirements(missing))
        return missing

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _parse(data: bytes, kind: FileKind[T], key: ModelKey) -> _Entry:
    try:
        parsed = kind.parse(data)
    except ValueError as error:
        logger.info(
            "The %s of %s is invalid: %s",
            kind.path,
            key,
            error,
            extra={"event": "model_file_invalid", "model": str(key), "path": kind.path},
        )
        return _Entry(None, f"The {kind.path} file of {key} is invalid.", 0)
    return _Entry(parsed, "", kind.size_bytes(parsed))
