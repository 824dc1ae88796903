"""Reads the files of versions that their environments are made of."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.concurrency.task_group import unwrapping_task_group
from gateway.environments.recipe import CONDA, PYTHON_ENV, REQUIREMENTS, RecipeFiles
from gateway.errors import BadUpstreamResponse
from gateway.model_files.version_files import MLMODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.domain.mlmodel import Mlmodel
    from gateway.domain.models import ModelVersion
    from gateway.model_files.version_files import VersionFiles


class VersionRecipes:
    """The source of versions' files for their environments."""

    def __init__(self, catalog: Catalog, artifacts: ArtifactCache, files: VersionFiles) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._files = files

    async def recipe_files(self, version: ModelVersion) -> RecipeFiles:
        """Return the files that a recipe is made of. Raise what reading them from their store raises."""
        async with unwrapping_task_group() as group:
            mlmodel = group.create_task(self._mlmodel(version))
            requirements = group.create_task(self._files.read_raw(version, REQUIREMENTS))
            python_env = group.create_task(self._files.read_raw(version, PYTHON_ENV))
            conda = group.create_task(self._files.read_raw(version, CONDA))
        return RecipeFiles(mlmodel.result(), requirements.result(), python_env.result(), conda.result())

    async def installed(self) -> Mapping[str, str]:
        """Return the versions of the packages in the gateway's own environment."""
        return await self._files.installed()

    @asynccontextmanager
    async def folder(self, version: ModelVersion) -> AsyncIterator[Path]:
        """Fetch all files of the version, and yield their folder."""
        async with self._artifacts.lease(version.key, lambda: self._catalog.resolve_uri(version)) as folder:
            yield folder

    async def _mlmodel(self, version: ModelVersion) -> Mlmodel | None:
        try:
            return await self._files.read(version, MLMODEL)
        except BadUpstreamResponse:
            return None  # the worker says what is wrong with it
