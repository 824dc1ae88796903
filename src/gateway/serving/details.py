"""Collects the details of one version: from MLflow, from its files, and from the worker pool."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.catalog.cache import StaleWhileRevalidateCache
from gateway.catalog.locations import strip_password
from gateway.concurrency.task_group import unwrapping_task_group
from gateway.errors import GatewayError
from gateway.model_files.version_files import EXAMPLE, MLMODEL, REQUIREMENTS, SERVING_EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.catalog import Catalog
    from gateway.domain.mlmodel import Mlmodel, Signature
    from gateway.domain.models import ModelVersion, RunDetails
    from gateway.domain.refs import ModelRef
    from gateway.domain.requirements import Requirements
    from gateway.engines.engine import Engine
    from gateway.model_files.version_files import FileKind, VersionFiles
    from gateway.settings import CurrentSettings
    from workers.pool.status import ModelStatus

logger = logging.getLogger(__name__)
T = TypeVar("T")

_MAX_ENTRIES: Final = 1000
_MAX_BYTES: Final = 64 * 2**20
_MAX_LOOKUPS: Final = 16  # at once; each may hold 25 MB that were parsed of a file of 1 MiB
_BYTES_PER_TEXT: Final = 64
_BYTES_PER_VERSION: Final = 4096


@dataclass(frozen=True, slots=True)
class VersionDetails:
    """All details of one version but its state here; a part that could not be read from its files is None.

    `input_example` is JSON as stored with the model, in most cases a valid request body for it.
    """

    version: ModelVersion
    run: RunDetails | None
    mlmodel: Mlmodel | None = None
    requirements: Requirements | None = None
    requirements_missing: tuple[str, ...] | None = None
    input_example: bytes | None = None
    artifact_uri: str | None = None

    @property
    def size_bytes(self) -> int:
        """The approximate bytes of memory that they take."""
        version, run = self.version, self.run
        texts = [version.tags, version.metrics, *((run.params, run.metrics, run.tags) if run else ())]
        return (
            _BYTES_PER_VERSION
            + len(version.description)
            + sum(map(_mapping_bytes, texts))
            + (self.mlmodel.size_bytes if self.mlmodel else 0)
            + (self.requirements.size_bytes if self.requirements else 0)
            + len(self.input_example or b"")
        )


class VersionDetailsService:
    """A service that collects a version's details from the catalog and from its files, and its state here.

    The details are cached as long as the catalog's resolutions are; the state is always the present one.
    """

    def __init__(
        self, catalog: Catalog, files: VersionFiles, *, engine: Engine, settings: CurrentSettings
    ) -> None:
        self._catalog = catalog
        self._files = files
        self._engine = engine
        self._cache: StaleWhileRevalidateCache[ModelRef, VersionDetails] = StaleWhileRevalidateCache(
            self._look_up,
            ttl=lambda: settings.value.catalog_ttl_seconds,
            max_entries=_MAX_ENTRIES,
            max_bytes=_MAX_BYTES,
            size=lambda details: details.size_bytes,
            max_lookups=_MAX_LOOKUPS,
            pending="MLflow or the store of the version's files has not yet answered; the lookup continues.",
        )

    async def get(self, ref: ModelRef) -> tuple[VersionDetails, ModelStatus]:
        """Return the details of the version that `ref` resolves to, READY or not, and its state here.

        Raise what `Catalog.get_version` raises. If the version's files cannot be read, their parts are None.
        """
        cached = await self._cache.get(ref)
        if cached.stale:
            self._catalog.record_stale(ref, cached.age)
        return cached.value, self._engine.status(cached.value.version.key)

    async def signature(self, version: ModelVersion) -> Signature | None:
        """Return the version's signature, or None if its MLmodel file has none.

        Raise BadUpstreamResponse for an invalid MLmodel file, and what reading it from its store raises.
        """
        parsed = await self._files.read(version, MLMODEL)
        return None if parsed is None else parsed.signature

    async def close(self) -> None:
        """Cancel the running lookups."""
        await self._cache.close()

    async def _look_up(self, ref: ModelRef) -> VersionDetails:
        version = await self._catalog.get_version(ref)
        async with unwrapping_task_group() as group:
            parsed = group.create_task(self._read(version, MLMODEL))
            requirements = group.create_task(self._read(version, REQUIREMENTS))
            example = group.create_task(self._input_example(version))
            uri = group.create_task(self._artifact_uri(version))
            run = group.create_task(self._run_details(version))
        required = requirements.result()
        return VersionDetails(
            version=version,
            run=run.result(),
            mlmodel=parsed.result(),
            requirements=required,
            requirements_missing=None
            if required is None
            else await self._files.find_missing(version, required),
            input_example=example.result(),
            artifact_uri=uri.result(),
        )

    async def _read(self, version: ModelVersion, kind: FileKind[T]) -> T | None:
        if not version.uri:
            return None
        try:
            return await self._files.read(version, kind)
        except GatewayError as error:
            logger.info(
                "Cannot read %s of %s: %s",
                kind.path,
                version.key,
                error,
                extra={"event": "model_file_unreadable", "model": str(version.key), "path": kind.path},
            )
            return None

    async def _input_example(self, version: ModelVersion) -> bytes | None:
        example = await self._read(version, SERVING_EXAMPLE)
        return await self._read(version, EXAMPLE) if example is None else example

    async def _artifact_uri(self, version: ModelVersion) -> str | None:
        if not version.uri:
            return None
        try:
            return strip_password(await self._catalog.resolve_uri(version))
        except GatewayError as error:
            logger.info(
                "Cannot locate the files of %s: %s",
                version.key,
                error,
                extra={"event": "model_files_not_located", "model": str(version.key)},
            )
            return None

    async def _run_details(self, version: ModelVersion) -> RunDetails | None:
        return await self._catalog.get_run(version.run_id) if version.run_id else None


def _mapping_bytes(values: Mapping[str, object]) -> int:
    sizes = (len(value) if isinstance(value, str) else 0 for value in values.values())
    return sum(map(len, values)) + sum(sizes) + 2 * _BYTES_PER_TEXT * len(values)
