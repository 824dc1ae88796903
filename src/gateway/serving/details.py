"""Everything that can be told of one version: from MLflow, from its files, and how it is served here."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import orjson

from gateway.domain import mlmodel, requirements
from gateway.domain.mlmodel import InvalidMlmodel
from gateway.domain.uris import strip_password
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
_T = TypeVar("_T")
_EXAMPLE_FILES = ("serving_input_example.json", "input_example.json")


@dataclass(frozen=True, slots=True)
class VersionDetails:
    """One version, whole; what could not be read of its files is None.

    `input_example` is JSON as it was written, a body for the invocation route where the version
    has one.
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
    """Gathers the details of a version from the rooms that know a part of them."""

    def __init__(self, catalog: Catalog, artifacts: ArtifactCache, *, pool: Pool) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._pool = pool

    async def get(self, ref: ModelRef) -> VersionDetails:
        """The details of the version that `ref` means now, READY or not.

        Raises what `Catalog.version` raises; trouble with the version's files leaves those parts None.
        """
        version = await self._catalog.get_version(ref)
        parsed, wanted, example, uri, run = await asyncio.gather(
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
            requirements=wanted,
            requirements_missing=None
            if wanted is None
            else await asyncio.to_thread(requirements.find_missing, wanted),
            input_example=example,
            artifact_uri=uri,
        )

    async def signature(self, version: ModelVersion) -> Signature | None:
        """What the version takes and gives; None where its files do not say.

        Raises UpstreamWrong for a file that cannot be read, and what reading it from its store raises.
        """
        path = "MLmodel"
        data = await self._artifacts.read_file(version.key, lambda: self._catalog.resolve_uri(version), path)
        if data is None:
            return None
        try:
            return (await asyncio.to_thread(mlmodel.parse_mlmodel, data)).signature
        except InvalidMlmodel as error:
            raise BadUpstreamResponse(f"{path} of {version.key} cannot be read.") from error

    async def _read(self, version: ModelVersion, path: str, parse: Callable[[bytes], _T]) -> _T | None:
        if not version.uri:
            return None
        try:
            data = await self._artifacts.read_file(
                version.key, lambda: self._catalog.resolve_uri(version), path
            )
            return None if data is None else await asyncio.to_thread(parse, data)
        except (GatewayError, ValueError) as error:
            logger.info("%s of %s cannot be read: %s", path, version.key, error)
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
            logger.info("The files of %s cannot be located: %s", version.key, error)
            return None

    async def _run_details(self, version: ModelVersion) -> RunDetails | None:
        return await self._catalog.get_run(version.run_id) if version.run_id else None


def _validate_json(data: bytes) -> bytes:
    orjson.loads(data)
    return data
