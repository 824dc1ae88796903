"""A package index on loopback, and environments of versions whose files the test writes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from gateway.domain.mlmodel import Mlmodel
from gateway.domain.models import ModelVersion
from gateway.environments.factory import create_environments
from gateway.environments.recipe import RecipeFiles
from gateway.settings import load
from gateway.system.programs import find_uv
from tests.support.package_index import serve_index
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from gateway.environments.environments import Environments
    from tests.support.package_index import PackageIndex

INSTALLED = {"mlflow": "3.17.2", "scikit-learn": "1.9.1", "numpy": "2.5.0"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what runs uv where it is not installed, and say so."""
    if find_uv() is None:
        for item in items:
            if "tests/gateway/environments" in str(item.path) and "harness" in getattr(
                item, "fixturenames", ()
            ):
                item.add_marker(pytest.mark.skip(reason="uv is not installed"))


def version(name: str = "wine", number: str = "1", **options: Any) -> ModelVersion:
    """Return a version with this name and number."""
    return ModelVersion(name, number, "registry", "READY", "models:/x", f"fp-{name}-{number}", **options)


def fill(index: PackageIndex) -> None:
    """Add what every environment needs, as tiny packages of these names, and two for tests."""
    index.add("mlflow-skinny", metadata.version("mlflow"), needs=["orjson"])
    for name, number in {
        "numpy": "1.26.4", "pandas": "2.2.3", "pyarrow": "20.0.0", "orjson": "3.11", "pydantic": "2.11",
        "pysimdjson": "7.0.2",
    }.items():  # fmt: skip
        index.add(name, number)
    index.add("learner", "1.5.2", needs=["helper"])
    index.add("helper", "1.0", uploaded="2022-01-01T00:00:00Z")
    index.add("helper", "2.0", uploaded="2024-06-01T00:00:00Z")


@dataclass
class VersionFolder:
    """A source of versions whose files are in the test's memory, and their wheels in a folder."""

    folder_path: Path
    files: dict[str, RecipeFiles] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=lambda: INSTALLED)
    reads: int = 0

    async def recipe_files(self, wanted: ModelVersion) -> RecipeFiles:
        """Return the files that the test has given to the version."""
        self.reads += 1
        return self.files.get(wanted.name, RecipeFiles())

    async def installed(self) -> Mapping[str, str]:
        """Return what is installed, as the test has it."""
        return self.packages

    @asynccontextmanager
    async def folder(self, _wanted: ModelVersion) -> AsyncIterator[Path]:
        """Yield the folder of all versions."""
        yield self.folder_path


@dataclass
class Harness:
    """Environments below `folder`, whose packages come from `index`."""

    folder: Path
    index: PackageIndex
    source: VersionFolder

    def require(self, *lines: str, name: str = "wine", **options: Any) -> ModelVersion:
        """Give a version these requirements, and return it."""
        self.source.files[name] = RecipeFiles(
            Mlmodel(**options), requirements="\n".join([*lines, ""]).encode()
        )
        return version(name)

    def variables(self, **more: str) -> dict[str, str]:
        """Return the settings, with this index."""
        return {
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
            "GATEWAY_CACHE_DIR": str(self.folder / "cache"),
            "GATEWAY_ENVIRONMENTS": "needed",
            "UV_DEFAULT_INDEX": self.index.url,
            "UV_HTTP_RETRIES": "0",
            **more,
        }

    def open_with(self, counters: Counters | None = None, **more: str) -> Environments:
        """Return environments with these settings; the caller opens them."""
        settings = load(self.variables(**more))
        return create_environments(settings, self.source, counters=counters or Counters())

    @property
    def root(self) -> Path:
        """The folder of environments."""
        return self.folder / "cache" / "environments" / "v1"

    def built(self) -> list[str]:
        """Return the digests of the folders that count as environments."""
        return sorted(path.name for path in (self.root / "environments").iterdir())

    def partial(self) -> list[str]:
        """Return the names of folders that are being built, or were left."""
        return sorted(path.name for path in (self.root / "partial").iterdir())


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """Environments with an index that has what they need."""
    with serve_index(tmp_path / "index") as index:
        fill(index)
        (tmp_path / "version").mkdir()
        yield Harness(tmp_path, index, VersionFolder(tmp_path / "version"))
