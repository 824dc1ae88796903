"""Proves that every route says what a caller must be allowed to do, and which ones ask for nothing."""

from __future__ import annotations

from aiohttp import web

from gateway import settings
from gateway.api import access, routes
from gateway.app import create_app
from gateway.auth.actions import Action

OPEN = {
    "/health/live",
    "/health/ready",
    "/v2/health/live",
    "/v2/health/ready",
    "/docs",
    "/docs/{file}",
    "/openapi.json",
}
"""Open to anyone: whether the gateway lives, and what its API is, which is public."""

ACTIONS = {
    ("POST", "invocation"): Action.INVOKE,
    ("POST", "{version}"): Action.INVOKE,  # …/invocation/{version}
    ("POST", "infer"): Action.INVOKE,
    ("GET", "ready"): Action.INVOKE,
    ("GET", "model"): Action.READ,
    ("GET", "models"): Action.READ,
    ("GET", "{name}"): Action.READ,
    ("GET", "{version}"): Action.READ,
    ("GET", "v2"): Action.READ,
    ("POST", "index"): Action.READ,
    ("POST", "load"): Action.MANAGE,
    ("POST", "unload"): Action.MANAGE,
    ("GET", "metrics"): Action.STATUS,
    ("GET", "version"): Action.STATUS,
}
"""The actions by method and by the last part of the path."""


def test_every_route_of_the_application_has_an_action() -> None:
    """A route that is added without one would be open to all who are known: this test fails for it."""
    router = web.UrlDispatcher()
    needed = routes.add_routes(router)
    assert set(needed) == set(router.routes())
    for route, found in needed.items():
        assert route.resource is not None
        path = route.resource.canonical.rstrip("/").replace(":[^/]+", "")
        if path in OPEN:
            assert found is access.OPEN, path
            continue
        method = "GET" if route.method == "HEAD" else route.method
        assert found.action is ACTIONS[method, path.rpartition("/")[2]], path
        assert found.action is not Action.OPEN


def test_the_application_has_no_other_routes() -> None:
    """What handlers, middlewares and mounts add later would be missed otherwise."""
    app = create_app(settings.load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}))
    paths = {(route.method, route.resource and route.resource.canonical) for route in app.router.routes()}
    router = web.UrlDispatcher()
    routes.add_routes(router)
    assert paths == {(route.method, route.resource and route.resource.canonical) for route in router.routes()}


def test_a_version_is_what_the_path_names() -> None:
    """Rights for one version do not open the others, nor what tells of all of them."""
    router = web.UrlDispatcher()
    for route, found in routes.add_routes(router).items():
        assert route.resource is not None
        path = route.resource.canonical
        if "{version" in path:
            assert found.scope is access.Scope.VERSION
        elif "/repository/models/" in path:
            assert found.scope is access.Scope.BODY
        elif "{name" in path:
            by_default = path.rstrip("/").endswith(("/infer", "/ready"))  # the latest version
            assert found.scope is (access.Scope.VERSION if by_default else access.Scope.MODEL)
        else:
            assert found.scope is access.Scope.NONE
