"""The route table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.api.body import reader
from gateway.api.handlers import docs, health, metrics, models, predict
from gateway.api.v2 import handlers as v2
from gateway.api.v2 import repository

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler


class Route(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    handler: Handler


MODEL_PATHS: Final = ("/model", "/models")
"""The prefixes of the model routes: the current one, and the deprecated one of the last release."""

_NAME = "{name:[^/]+}"
_VERSION = "{version:[^/]+}"

_MODEL_ROUTES: Final = (
    Route("POST", f"/{_NAME}/{_VERSION}/invocation", predict.invoke),
    Route("POST", f"/{_NAME}/invocation/{_VERSION}", predict.invoke),
    Route("GET", f"/{_NAME}/{_VERSION}", models.show_version),
    Route("GET", f"/{_NAME}", models.show_model),
    Route("GET", "", models.list_models),
)

_V2_MODEL: Final = f"/v2/models/{_NAME}"
_V2_VERSION: Final = f"{_V2_MODEL}/versions/{_VERSION}"

_V2_ROUTES: Final = (
    Route("POST", f"{_V2_MODEL}/infer", v2.infer),
    Route("POST", f"{_V2_VERSION}/infer", v2.infer),
    Route("GET", f"{_V2_MODEL}/ready", v2.model_ready),
    Route("GET", f"{_V2_VERSION}/ready", v2.model_ready),
    Route("GET", _V2_MODEL, v2.model),
    Route("GET", _V2_VERSION, v2.model),
    Route("POST", "/v2/repository/index", repository.index),
    Route("POST", f"/v2/repository/models/{_NAME}/load", repository.load),
    Route("POST", f"/v2/repository/models/{_NAME}/unload", repository.unload),
    Route("GET", "/v2/health/live", health.live),
    Route("GET", "/v2/health/ready", v2.ready),
    Route("GET", "/v2", v2.server),
)

_GATEWAY_ROUTES: Final = (
    Route("GET", "/health/live", health.live),
    Route("GET", "/health/ready", health.ready),
    Route("GET", "/version", health.version),
    Route("GET", "/metrics", metrics.show),
    Route("GET", "/openapi.json", docs.openapi),
    Route("GET", "/docs", docs.page),
)


def all_routes() -> tuple[Route, ...]:
    """Return every route, with and without a trailing slash; the busiest routes come first."""
    model_routes = tuple(
        route._replace(path=prefix + route.path) for prefix in MODEL_PATHS for route in _MODEL_ROUTES
    )
    without_slash = model_routes + _V2_ROUTES + _GATEWAY_ROUTES
    with_slash = tuple(route._replace(path=f"{route.path}/") for route in without_slash)
    return (*without_slash, *with_slash, Route("GET", "/docs/{file}", docs.file))


PREDICTION_HANDLERS: Final = (predict.invoke, v2.infer)
"""The handlers whose requests count as predictions."""


def add_routes(router: web.UrlDispatcher) -> None:
    """Add every route to `router`."""
    for method, path, handler in all_routes():
        router.add_route(method, path, handler, expect_handler=reader.handle_expect_continue)
        if method == "GET":
            router.add_route("HEAD", path, handler, expect_handler=reader.handle_expect_continue)
