"""Collects the details of one version: from MLflow, from its files, and from the worker pool."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import orjson

from gateway.catalog.locations import strip_password
from gateway.domain import mlmodel, requirements
from gateway.domain.mlmodel import InvalidMlmodel
from gateway.errors import BadUpstreamResponse, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.domain.mlmodel import Mlmodel, Signature
    from gateway.domain.models import ModelVersion, RunDetails
    from gateway.domain.refs import ModelRef
    from workers.pool.pool import Pool
    from workers.pool.status import ModelStatus

logger = logging.getLogger(__name__)
T = TypeVar("T")
_EXAMPLE_FILES = ("serving_input_example.json", "input_example.json")


@dataclass(frozen=True, slots=True)
class VersionDetails:
    """All details of one version; a part that could not be read from its files is None.

    `input_example` is JSON as stored with the model, in most cases a valid request body for it.
    """

    version: ModelVersion
    run: RunDetails | None
    serving: ModelStatus
    mlmodel: Mlmodel | None = None
    requirements: tuple[str, ...] | None = None
    requirements_missing: tuple[str, ...] | None = None
    input_example: bytes | None = None
    artifact_uri: str | None = None


class VersionDetailsService:
    """A service that collects a version's details from the catalog, the artifact cache and the pool."""

    def __init__(self, catalog: Catalog, artifacts: ArtifactCache, *, pool: Pool) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._pool = pool

    async def get(self, ref: ModelRef) -> VersionDetails:
        """Return the details of the version that `ref` resolves to, READY or not.

        Raise what `Catalog.get_version` raises. If the version's files cannot be read, their parts are None.
        """
        version = await self._catalog.get_version(ref)
        parsed, required, example, uri, run = await asyncio.gather(
            self._read(version, "MLmodel", mlmodel.parse_mlmodel),
            self._read(version, "requirements.txt", requirements.parse_requirements),
            self._input_example(version),
            self._artifact_uri(version),
            self._run_details(version),
        )
        return VersionDetails(
            version=version,
            run=run,
            serving=self._pool.status(version.key),
            mlmodel=parsed,
            requirements=required,
            requirements_missing=None
            if required is None
            else await asyncio.to_thread(requirements.find_missing, required),
            input_example=example,
            artifact_uri=uri,
        )

    async def signature(self, version: ModelVersion) -> Signature | None:
        """Return the version's signature, or None if its MLmodel file has none.

        Raise BadUpstreamResponse for an invalid MLmodel file, and what reading it from its store raises.
        """
        path = "MLmodel"
        data = await self._artifacts.read_file(version.key, lambda: self._catalog.resolve_uri(version), path)
        if data is None:
            return None
        try:
            return (await asyncio.to_thread(mlmodel.parse_mlmodel, data)).signature
        except InvalidMlmodel as error:
            raise BadUpstreamResponse(f"The {path} file of {version.key} is invalid.") from error

    async def _read(self, version: ModelVersion, path: str, parse: Callable[[bytes], T]) -> T | None:
        if not version.uri:
            return None
        try:
            data = await self._artifacts.read_file(
                version.key, lambda: self._catalog.resolve_uri(version), path
            )
            return None if data is None else await asyncio.to_thread(parse, data)
        except (GatewayError, ValueError) as error:
            logger.info(
                "Cannot read %s of %s: %s",
                path,
                version.key,
                error,
                extra={"event": "model_file_unreadable", "model": str(version.key), "path": path},
            )
            return None

    async def _input_example(self, version: ModelVersion) -> bytes | None:
        for path in _EXAMPLE_FILES:
            example = await self._read(version, path, _validate_json)
            if example is not None:
                return example
        return None

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


def _validate_json(data: bytes) -> bytes:
    orjson.loads(data)
    return data
