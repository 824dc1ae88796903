"""The routes of the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.api import access
from gateway.api.routes import Route
from gateway.console import pages, state, static_files
from gateway.console.views import VIEWS

if TYPE_CHECKING:
    from gateway.settings import Settings

_HEADER_ONLY: Final = {"keys", "jwt"}


def console_routes(settings: Settings) -> tuple[Route, ...]:
    """Return the routes, with and without a trailing slash; none if the pages are off.

    A browser sends no key and no token when a person opens an address. If callers show one, the page itself
    is open, has no content, and asks for it.
    """
    if settings.console == "off":
        return ()
    framed = bool(_HEADER_ONLY & set(settings.auth.sources))
    routes = []
    for view in VIEWS:
        if framed:
            routes.append(Route("GET", view.path, pages.frame(view), access.OPEN))
        else:
            routes.append(Route("GET", view.path, pages.page(view), view.access))
        routes.append(Route("GET", f"{pages.CONTENT_PREFIX}{view.path}", pages.content(view), view.access))
    with_slash = [route._replace(path=f"{route.path}/") for route in routes if not route.path.endswith("/")]
    routes.append(Route("GET", "/console/state", state.show, access.LIST))
    routes.append(Route("GET", "/console/charts", state.charts, access.STATUS))
    return (*routes, *with_slash, Route("GET", "/ui/static/{file:.+}", static_files.file, access.OPEN))
