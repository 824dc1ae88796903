"""Prepares a version's environment: reads its recipe, decides if it needs one, and chooses a Python."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from gateway.concurrency.threads import in_thread
from gateway.domain.requirements import find_differing, parse_requirements
from gateway.domain.version_tags import ENVIRONMENT
from gateway.environments import local_wheels
from gateway.environments.bytecode import has_pickled_functions
from gateway.environments.interpreters import choose, find_interpreters
from gateway.environments.local_wheels import StagedWheels
from gateway.environments.recipe import is_needed, read_recipe
from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from gateway.domain.models import ModelVersion
    from gateway.environments.interpreters import Interpreter
    from gateway.environments.lock import LockStore
    from gateway.environments.recipe import Recipe, RecipeFiles
    from gateway.settings.environments import EnvironmentMode

logger = logging.getLogger(__name__)


class VersionSource(Protocol):
    """Where the files of versions come from."""

    async def recipe_files(self, version: ModelVersion) -> RecipeFiles:
        """Return the files that a recipe is made of."""
        ...

    async def installed(self) -> Mapping[str, str]:
        """Return the versions of the packages in the gateway's own environment, by normalized name."""
        ...

    def folder(self, version: ModelVersion) -> AbstractAsyncContextManager[Path]:
        """Fetch all files of the version, and yield their folder."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A version's recipe with all that is needed to resolve it."""

    recipe: Recipe
    interpreter: Interpreter
    wheels: StagedWheels
    lock_name: str


class EnvironmentPreparer:
    """A reader of recipes that knows the interpreters of this machine."""

    def __init__(
        self,
        source: VersionSource,
        *,
        mode: EnvironmentMode,
        locks: LockStore,
        wheels: Path,
        pythons: Sequence[Path],
        environment: Mapping[str, str],
    ) -> None:
        """`pythons` and `environment` say where interpreters are. The wheels of versions go to `wheels`."""
        self._source = source
        self.mode: EnvironmentMode = mode
        self._locks = locks
        self._wheels = wheels
        self._pythons = pythons
        self._environment = environment
        self._interpreters: tuple[Interpreter, ...] = ()

    def is_possible(self, version: ModelVersion) -> bool:
        """Return whether the version may need an environment, by the settings and its tag alone."""
        return self.mode != "off" and version.tags.get(ENVIRONMENT.tag) != "shared"

    async def prepare(self, version: ModelVersion) -> Prepared | None:
        """Return what the version's environment is resolved from, or None if the gateway's own will do.

        Raise EnvironmentRefused, and what reading the version's files raises.
        """
        recipe = await self._recipe_if_needed(version) if self.is_possible(version) else None
        if recipe is None:
            return None
        if not self._interpreters:
            self._interpreters = await in_thread(find_interpreters, self._pythons, self._environment)
        interpreter = choose(self._interpreters, recipe)
        if recipe.python and interpreter.minor != recipe.python:
            async with self._source.folder(version) as folder:
                if await in_thread(has_pickled_functions, folder):
                    choose(self._interpreters, replace(recipe, exact=True))  # raises: there is none
        wheels = StagedWheels({}, ())
        if recipe.lines.wheels:
            async with self._source.folder(version) as folder:
                wheels = await in_thread(
                    local_wheels.stage, recipe.lines.wheels, version=folder, target=self._wheels
                )
        name = self._locks.name(recipe, interpreter, wheels.digests)
        return Prepared(recipe, interpreter, wheels, name)

    async def _recipe_if_needed(self, version: ModelVersion) -> Recipe | None:
        ENVIRONMENT.log_unknown(version)
        files = await self._source.recipe_files(version)
        installed, tag = await self._source.installed(), version.tags.get(ENVIRONMENT.tag)
        try:
            recipe = await in_thread(read_recipe, files, created=version.created)
        except EnvironmentRefused:
            # What cannot be installed may be here already: then the gateway's own environment will do.
            if self.mode == "always" or tag == "own" or await in_thread(_differs, files, installed):
                raise
            return None
        needed = await in_thread(is_needed, recipe, mode=self.mode, tag=tag, installed=installed)
        return recipe if needed else None


def _differs(files: RecipeFiles, installed: Mapping[str, str]) -> bool:
    """Return whether a named package differs; lines with addresses and paths cannot be compared."""
    lines = parse_requirements(files.requirements or b"").lines
    return bool(find_differing([line for line in lines if "/" not in line], installed))
