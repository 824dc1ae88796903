"""The route table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.api import bodies, docs, invocation, models, status

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler


class Route(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    handler: Handler


MODEL_PATHS: Final = ("/model", "/models")
"""Where models are found: the present path, and that of the last release."""

_NAME = "{name:[^/]+}"
_VERSION = "{version:[^/]+}"

_OF_MODELS: Final = (
    Route("POST", f"/{_NAME}/{_VERSION}/invocation", invocation.invoke),
    Route("POST", f"/{_NAME}/invocation/{_VERSION}", invocation.invoke),
    Route("GET", f"/{_NAME}/{_VERSION}", models.show_version),
    Route("GET", f"/{_NAME}", models.show_model),
    Route("GET", "", models.list_models),
)

_OF_GATEWAY: Final = (
    Route("GET", "/health/live", status.live),
    Route("GET", "/health/ready", status.ready),
    Route("GET", "/version", status.version),
    Route("GET", "/openapi.json", docs.openapi),
    Route("GET", "/docs", docs.page),
)


def table() -> tuple[Route, ...]:
    """Every route, once without and once with a trailing slash; the busiest come first."""
    of_models = tuple(
        route._replace(path=prefix + route.path) for prefix in MODEL_PATHS for route in _OF_MODELS
    )
    plain = of_models + _OF_GATEWAY
    slashed = tuple(route._replace(path=f"{route.path}/") for route in plain)
    return (*plain, *slashed, Route("GET", "/docs/{file}", docs.file))


def add_to(router: web.UrlDispatcher) -> None:
    """Add every route to `router`."""
    for method, path, handler in table():
        router.add_route(method, path, handler, expect_handler=bodies.invite)
        if method == "GET":
            router.add_route("HEAD", path, handler, expect_handler=bodies.invite)
