"""The application in this process, with real workers and a real MLflow server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway import settings
from gateway.api.keys import COMPONENTS
from gateway.api.runner import GatewayRunner
from gateway.api.server_options import server_options
from gateway.app import create_app
from gateway.auth.principal import current_principal
from gateway.engines.local import LocalEngine
from tests.support.mlflow_server import environment
from tests.support.shared import once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp.typedefs import Handler, Middleware

    from gateway.auth.principal import Principal
    from tests.support.mlflow_server import MlflowServer
    from workers.pool.pool import Pool

NO_WALL = {"GATEWAY_WORKER_WALL": "off"}
NO_ENVIRONMENTS = {"GATEWAY_ENVIRONMENTS": "off"}  # most tests need no package index

Gateway = TestClient[web.Request, web.Application]

ROOT = Path(__file__).parents[2]
BODY = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, 2.0], [3.0, 4.0]]}}'
_MLFLOW_SECONDS: Final = "60"  # so that a slow machine is not taken for an outage of MLflow


class GatewayServer(TestServer):
    """aiohttp's server for tests, with the gateway's own connections and dispatch."""

    async def _make_runner(self, **options: Any) -> GatewayRunner:
        return GatewayRunner(self.app, **options)


def pool_of(app: web.Application) -> Pool:
    """Return the worker pool of an application whose models run in workers of its own."""
    engine = app[COMPONENTS].engine
    assert isinstance(engine, LocalEngine)
    return engine.pool


@asynccontextmanager
async def gateway_at(url: str, cache: Path, **values: str) -> AsyncIterator[Gateway]:
    """Run the application with the MLflow server at `url`, and yield an HTTP client of it."""
    async with _running(url, cache, values) as client:
        yield client


@asynccontextmanager
async def gateway_for(
    callers: Mapping[str, Principal], url: str, cache: Path, /, **values: str
) -> AsyncIterator[Gateway]:
    """Run the same, where a request with the header `X-Caller` is made as that one of `callers`.

    That is so whatever else the request shows of who makes it.
    """
    async with _running(url, cache, values, _as_caller(callers)) as client:
        yield client


@asynccontextmanager
async def _running(
    url: str, cache: Path, values: Mapping[str, str], *middlewares: Middleware
) -> AsyncIterator[Gateway]:
    given = {
        "MLFLOW_TRACKING_URI": url,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": _MLFLOW_SECONDS,
        "GATEWAY_CACHE_DIR": str(cache),
        **NO_ENVIRONMENTS,
        **values,
    }
    environ = {**environment(), **given}
    chosen = settings.load(environ)
    app = create_app(chosen)
    app.middlewares.extend(middlewares)
    if isinstance(app[COMPONENTS].engine, LocalEngine):
        # So that a slow machine cannot end the pause between a failed load and what a test asks about it.
        pool_of(app)._load_backoff._initial_seconds = 60.0
    server = GatewayServer(app)
    options = server_options(chosen)
    assert options.pop("handler_cancellation")  # aiohttp's test server insists on setting it itself
    await server.start_server(**options)
    async with TestClient(server) as client:
        yield client


def _as_caller(callers: Mapping[str, Principal]) -> Middleware:
    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (name := request.headers.get("X-Caller")) is not None:
            current_principal.set(callers[name])
        return await handler(request)

    return handle


@pytest.fixture(scope="session")
def registered(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Register the models of `tests.support.register_models` once for the whole run.

    Return the ids of the runs of its experiment.
    """
    found: list[str] = once(tmp_path_factory, "registered", lambda _: _register(mlflow_server))
    return found


def _register(server: MlflowServer) -> list[str]:
    found: list[str] = server.module("tests.support.register_models", str(server.folder))
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """Run one application for the whole session. Its tests must run in the session's event loop."""
    cache = tmp_path_factory.mktemp("cache")
    async with gateway_at(mlflow_server.url, cache, GATEWAY_MAX_BODY_BYTES="1000000") as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway_without_wall(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """Run one more application, for models that tell the test something by a file outside of their folder."""
    cache = tmp_path_factory.mktemp("cache")
    async with gateway_at(mlflow_server.url, cache, **NO_WALL) as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway_with_short_timeout(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """Run one more application for the whole session; a prediction may take four seconds there."""
    cache = tmp_path_factory.mktemp("cache")
    async with gateway_at(mlflow_server.url, cache, GATEWAY_REQUEST_TIMEOUT_SECONDS="4") as client:
        yield client


async def invoke(gateway: Gateway, path: str, body: bytes = BODY, **headers: str) -> tuple[int, Any]:
    """Send a POST request to `/model/…/invocation`; return the status and the JSON of the response."""
    async with gateway.post(
        path, data=body, headers={"Content-Type": "application/json", **headers}
    ) as answer:
        return answer.status, await answer.json()
