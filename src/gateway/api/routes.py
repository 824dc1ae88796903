"""The route table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.api import access
from gateway.api.body import reader
from gateway.api.handlers import docs, health, metrics, models, predict, schema
from gateway.api.mlflow import endpoints, scoring
from gateway.api.v2 import handlers as v2
from gateway.api.v2 import repository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web
    from aiohttp.typedefs import Handler

    from gateway.api.access import Access


class Route(NamedTuple):
    """One method of one path, and what a caller must be allowed to do."""

    method: str
    path: str
    handler: Handler
    access: Access


MODEL_PATHS: Final = ("/model", "/models")
"""The prefixes of the model routes: the current one, and the deprecated one of the last release."""

_NAME = "{name:[^/]+}"
_VERSION = "{version:[^/]+}"

_MODEL_ROUTES: Final = (
    Route("POST", f"/{_NAME}/{_VERSION}/invocation", predict.invoke, access.INVOKE_VERSION),
    Route("POST", f"/{_NAME}/invocation/{_VERSION}", predict.invoke, access.INVOKE_VERSION),
    Route("POST", f"/{_NAME}/{_VERSION}/invocations", scoring.invoke, access.INVOKE_VERSION),
    Route("GET", f"/{_NAME}/{_VERSION}/ping", scoring.ping, access.INVOKE_VERSION),
    Route("GET", f"/{_NAME}/{_VERSION}/health", scoring.ping, access.INVOKE_VERSION),
    Route("GET", f"/{_NAME}/{_VERSION}/version", scoring.version, access.INVOKE_VERSION),
    Route("GET", f"/{_NAME}/{_VERSION}", models.show_version, access.READ_VERSION),
    Route("GET", f"/{_NAME}/{_VERSION}/openapi.json", schema.show_document, access.READ_VERSION),
    Route("GET", f"/{_NAME}", models.show_model, access.READ_MODEL),
    Route("GET", "", models.list_models, access.LIST),
)

_V2_MODEL: Final = f"/v2/models/{_NAME}"
_V2_VERSION: Final = f"{_V2_MODEL}/versions/{_VERSION}"

_V2_ROUTES: Final = (
    Route("POST", f"{_V2_MODEL}/infer", v2.infer, access.INVOKE_VERSION),
    Route("POST", f"{_V2_VERSION}/infer", v2.infer, access.INVOKE_VERSION),
    Route("GET", f"{_V2_MODEL}/ready", v2.model_ready, access.INVOKE_VERSION),
    Route("GET", f"{_V2_VERSION}/ready", v2.model_ready, access.INVOKE_VERSION),
    Route("GET", _V2_MODEL, v2.model, access.READ_MODEL),
    Route("GET", _V2_VERSION, v2.model, access.READ_VERSION),
    Route("POST", "/v2/repository/index", repository.index, access.LIST),
    Route("POST", f"/v2/repository/models/{_NAME}/load", repository.load, access.MANAGE),
    Route("POST", f"/v2/repository/models/{_NAME}/unload", repository.unload, access.MANAGE),
    Route("GET", "/v2/health/live", health.live, access.OPEN),
    Route("GET", "/v2/health/ready", v2.ready, access.OPEN),
    Route("GET", "/v2", v2.server, access.LIST),
)

_ENDPOINT: Final = f"/endpoints/{_NAME}"
_ENDPOINTS: Final = "/api/2.0/endpoints"

_ENDPOINT_ROUTES: Final = (
    Route("POST", f"{_ENDPOINT}/invocations", scoring.invoke, access.INVOKE_VERSION),
    Route("POST", f"{_ENDPOINT}/{_VERSION}/invocations", scoring.invoke, access.INVOKE_VERSION),
    Route("GET", f"{_ENDPOINTS}/{_NAME}", endpoints.show_endpoint, access.READ_VERSION),
    Route("GET", f"{_ENDPOINTS}/{_NAME}/{_VERSION}", endpoints.show_endpoint, access.READ_VERSION),
    Route("GET", _ENDPOINTS, endpoints.list_endpoints, access.LIST),
)

_GATEWAY_ROUTES: Final = (
    Route("GET", "/health/live", health.live, access.OPEN),
    Route("GET", "/health/ready", health.ready, access.OPEN),
    Route("GET", "/version", health.version, access.STATUS),
    Route("GET", "/metrics", metrics.show, access.STATUS),
    Route("GET", "/openapi.json", docs.openapi, access.OPEN),
    Route("GET", "/docs", docs.page, access.OPEN),
)


def all_routes() -> tuple[Route, ...]:
    """Return every route, with and without a trailing slash; the busiest routes come first."""
    model_routes = tuple(
        route._replace(path=prefix + route.path) for prefix in MODEL_PATHS for route in _MODEL_ROUTES
    )
    without_slash = model_routes + _V2_ROUTES + _ENDPOINT_ROUTES + _GATEWAY_ROUTES
    with_slash = tuple(route._replace(path=f"{route.path}/") for route in without_slash)
    return (*without_slash, *with_slash, Route("GET", "/docs/{file}", docs.file, access.OPEN))


PREDICTION_HANDLERS: Final = (predict.invoke, scoring.invoke, v2.infer)
"""The handlers whose requests count as predictions."""


def add_routes(router: web.UrlDispatcher, more: Iterable[Route] = ()) -> dict[web.AbstractRoute, Access]:
    """Add every route to `router`, and `more`; return what a caller must be allowed to do for each."""
    added: dict[web.AbstractRoute, Access] = {}
    for method, path, handler, needed in (*all_routes(), *more):
        for each in (method, "HEAD") if method == "GET" else (method,):
            route = router.add_route(each, path, handler, expect_handler=reader.handle_expect_continue)
            added[route] = needed
    return added
