"""Models of other environments on a real MLflow server, and the gateway before it as a process of its own."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.environments.made import CACHE, MadeModel, models
from tests.support.shared import once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mlflow_server import MlflowServer

_SECONDS = 3600  # a test may build several environments, and wait for packages


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder builds environments, and runs only when it is asked for."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.environments)
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.fixture(scope="session")
def made_models() -> dict[str, MadeModel]:
    """Return every model that was trained in an environment of its own, by name."""
    return {model.name: model for model in models()}


@pytest.fixture(scope="session")
def trained(
    mlflow_server: MlflowServer,
    made_models: dict[str, MadeModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, MadeModel]:
    """Return the same, each registered under its name as version 1."""
    pairs = [f"{model.name}={model.folder}" for model in made_models.values()]
    versions = once(
        tmp_path_factory,
        "trained",
        lambda _: mlflow_server.module("tests.environments.registering", *pairs),
    )
    assert set(versions.values()) == {"1"}
    return made_models


@pytest.fixture(scope="session")
def built_once() -> Iterator[str]:
    """Return the folder of environments for tests that only use them: the first that does builds one."""
    CACHE.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="environments-", dir=CACHE) as folder:
        yield folder


@pytest.fixture
def beside_cache() -> Iterator[Path]:
    """Return an empty folder on the file system of uv's cache."""
    CACHE.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="test-", dir=CACHE) as folder:
        yield Path(folder)
