"""A real MLflow server with models for the catalog, and a counting proxy in front of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.catalog import Catalog
from gateway.mlflow_client import MlflowClient
from gateway.settings import CurrentSettings, load
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.mlflow_server import MlflowServer, shared_server
from tests.support.shared import once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from workers.metrics import Counters

SEED = Path(__file__).parents[2] / "support" / "seed.py"
MANY = 120
"""The number of runs in the experiment `many`, and of versions of `many-registered`."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """The server with models, and the ids of their runs."""

    server: MlflowServer
    ids: Any


@asynccontextmanager
async def opened(url: str, counters: Counters | None = None, **variables: str) -> AsyncIterator[Catalog]:
    """Open a catalog of the server at `url`; `variables` are further settings."""
    settings = load({"MLFLOW_TRACKING_URI": url, **variables})
    async with MlflowClient(settings.mlflow) as client:
        catalog = Catalog(client, CurrentSettings(settings), counters=counters)
        try:
            yield catalog
        finally:
            await catalog.close()


@pytest.fixture(scope="session")
def seeded(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    """A server for these tests alone, which list everything in it; one for the whole run, so read-only."""
    server = shared_server(tmp_path_factory, "catalog")
    ids = once(tmp_path_factory, "seeded", lambda _: server.script(SEED, server.url, str(MANY)))
    return Seeded(server, ids)


@pytest.fixture
async def proxy(seeded: Seeded) -> AsyncIterator[FaultyProxy]:
    """A proxy in front of the server with models."""
    async with faulty_proxy(seeded.server.url) as proxy:
        yield proxy


@pytest.fixture
async def catalog(seeded: Seeded) -> AsyncIterator[Catalog]:
    """A catalog of the server with models, without a cache."""
    async with opened(seeded.server.url, GATEWAY_CATALOG_TTL_SECONDS="0") as catalog:
        yield catalog


@pytest.fixture
async def writable_catalog(mlflow_server: MlflowServer) -> AsyncIterator[Catalog]:
    """A catalog without a cache, of the server in which tests may create models of their own."""
    async with opened(mlflow_server.url, GATEWAY_CATALOG_TTL_SECONDS="0") as catalog:
        yield catalog
