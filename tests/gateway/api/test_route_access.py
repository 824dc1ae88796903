"""Proves that every route says what a caller must be allowed to do, and which ones ask for nothing."""

from __future__ import annotations

from aiohttp import web

from gateway import settings
from gateway.api import access, routes
from gateway.app import create_app
from gateway.auth.actions import Action
from gateway.console.routes import console_routes

ENVIRONMENT = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}
OPEN = {
    "/health/live",
    "/health/ready",
    "/v2/health/live",
    "/v2/health/ready",
    "/docs",
    "/docs/{file}",
    "/openapi.json",
    "/ui/static/{file}",
}
"""Open to anyone: whether the gateway lives, and what its API is, which is public."""

ACTIONS = {
    ("POST", "invocation"): Action.INVOKE,
    ("POST", "{version}"): Action.INVOKE,  # …/invocation/{version}
    ("POST", "invocations"): Action.INVOKE,
    ("GET", "ping"): Action.INVOKE,
    ("GET", "health"): Action.INVOKE,
    ("GET", "{version}/version"): Action.INVOKE,
    ("GET", "endpoints"): Action.READ,
    ("POST", "infer"): Action.INVOKE,
    ("GET", "ready"): Action.INVOKE,
    ("GET", "model"): Action.READ,
    ("GET", "models"): Action.READ,
    ("GET", "{name}"): Action.READ,
    ("GET", "{version}"): Action.READ,
    ("GET", "openapi.json"): Action.READ,  # of one version; that of the whole API is open
    ("GET", "v2"): Action.READ,
    ("POST", "index"): Action.READ,
    ("POST", "load"): Action.MANAGE,
    ("POST", "unload"): Action.MANAGE,
    ("GET", "metrics"): Action.STATUS,
    ("GET", "version"): Action.STATUS,
    ("GET", ""): Action.READ,
    ("GET", "content"): Action.READ,
    ("GET", "events"): Action.READ,
    ("GET", "state"): Action.READ,
    ("GET", "gateway"): Action.STATUS,
    ("GET", "charts"): Action.STATUS,
}
"""The actions by method and by the last part of the path, or by two where the last one has two meanings."""


def test_every_route_of_the_application_has_an_action() -> None:
    """A route that is added without one would be open to all who are known: this test fails for it."""
    router = web.UrlDispatcher()
    needed = routes.add_routes(router, console_routes(settings.load(ENVIRONMENT)))
    assert set(needed) == set(router.routes())
    for route, found in needed.items():
        assert route.resource is not None
        path = route.resource.canonical.rstrip("/").replace(":[^/]+", "").replace(":.+", "")
        if path in OPEN:
            assert found is access.OPEN, path
            continue
        method = "GET" if route.method == "HEAD" else route.method
        _, *parts = path.split("/")
        by_two = ACTIONS.get((method, "/".join(parts[-2:])))
        assert found.action is (by_two or ACTIONS[method, parts[-1]]), path
        assert found.action is not Action.OPEN


def test_the_application_has_no_other_routes() -> None:
    """What handlers, middlewares and mounts add later would be missed otherwise."""
    app = create_app(settings.load(ENVIRONMENT))
    paths = {(route.method, route.resource and route.resource.canonical) for route in app.router.routes()}
    router = web.UrlDispatcher()
    routes.add_routes(router, console_routes(settings.load(ENVIRONMENT)))
    assert paths == {(route.method, route.resource and route.resource.canonical) for route in router.routes()}


def test_a_version_is_what_the_path_names() -> None:
    """Rights for one version do not open the others, nor what tells of all of them."""
    router = web.UrlDispatcher()
    more = console_routes(settings.load(ENVIRONMENT))
    for route, found in routes.add_routes(router, more).items():
        assert route.resource is not None
        path = route.resource.canonical
        if "{version" in path:
            assert found.scope is access.Scope.VERSION
        elif "/repository/models/" in path:
            assert found.scope is access.Scope.BODY
        elif "{name" in path:
            latest = ("/infer", "/ready", "/invocations", "/endpoints/{name}")
            by_default = path.rstrip("/").endswith(latest)
            assert found.scope is (access.Scope.VERSION if by_default else access.Scope.MODEL)
        else:
            assert found.scope is access.Scope.NONE


def test_pages_without_credentials_are_empty() -> None:
    """A browser sends no key when a person opens an address; scripts send it with what asks for content."""
    values = ENVIRONMENT | {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": "/nowhere.yaml"}
    for route in console_routes(settings.load(values)):
        is_frame = route.path == "/" or route.path.startswith("/ui/")
        assert (route.access is access.OPEN) is is_frame, route.path
