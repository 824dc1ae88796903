"""Answers with a page: whole where the caller is known, otherwise its frame and, by scripts, its content."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.api import responses
from gateway.api.keys import COMPONENTS
from gateway.api.negotiation import parse_weights
from gateway.auth.actions import Action
from gateway.auth.principal import current_principal
from gateway.console.console import CONSOLE
from gateway.console.event_items import visible_since
from gateway.console.overview import build_banner, build_overview
from gateway.console.rendering import render
from gateway.console.static_files import PAGE_HEADERS
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from gateway.console.views import View

CONTENT_PREFIX: Final = "/console/content"
_LINKS: Final = {
    "models": "model",
    "openapi": "openapi.json",
    "docs": "docs",
    "health": "health/ready",
    "metrics": "metrics",
    "version": "version",
    "open_inference": "v2",
}


def page(view: View) -> Handler:
    """Return the handler of a whole page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await _respond(
            request, view, root=_relative_root(request.rel_url.raw_path), layout="base.html"
        )

    return _for_browsers(handle) if view.path == "/" else handle


def content(view: View) -> Handler:
    """Return the handler of a page's content alone, for the frame of the same page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix(CONTENT_PREFIX)
        return await _respond(request, view, root=_relative_root(path), layout="content.html")

    return handle


def frame(view: View) -> Handler:
    """Return the handler of a page's frame, which has nothing of the models and so needs no credentials."""

    async def handle(request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        root = _relative_root(path)
        address = f"{root}{CONTENT_PREFIX}{path}"
        context = {"title": "Gateway", "root": root, "layout": "base.html", "path": "", "cursor": ""}
        return _html(render("frame.html", **context, banner="", overview=None, content=address))

    return _for_browsers(handle) if view.path == "/" else handle


async def _respond(request: web.Request, view: View, *, root: str, layout: str) -> web.Response:
    components = request.app[COMPONENTS]
    try:
        # Events that happen while the page is built come again by polling, and are known by their ids.
        events = await visible_since(components.events, current_principal.get().rights)
        template, status = view.template, 200
        context = {"cursor": events.cursor} | await view.build(request)
    except GatewayError as error:
        problem = components.error_reporter.report(error, request)
        template, status = "error.html", problem.status
        context = {"cursor": "", "title": f"Error {problem.status}", "problem": problem}
    shared = _shared(request, view)
    # Others choose how much is on a page: the event loop does not wait for it.
    text = await asyncio.to_thread(render, template, **shared, root=root, layout=layout, **context)
    return _html(text, status=status)


def _shared(request: web.Request, view: View) -> dict[str, object]:
    """Return what every page shows, as it is once MLflow was asked for the rest."""
    components, console, rights = (
        request.app[COMPONENTS],
        request.app[CONSOLE],
        current_principal.get().rights,
    )
    return {
        "path": view.path,
        "mode": components.settings.value.console,
        "banner": build_banner(console),
        "overview": build_overview(console) if rights.allows_route(Action.STATUS) else None,
    }


def _html(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=PAGE_HEADERS)


def _for_browsers(handle: Handler) -> Handler:
    """Return a handler that answers with links in JSON to clients that do not prefer HTML."""

    async def choose(request: web.Request) -> web.StreamResponse:
        if prefers_html(",".join(request.headers.getall("Accept", []))):
            response = await handle(request)
        else:
            response = responses.json_response({"links": _LINKS})
        response.headers.add("Vary", "Accept")
        return response

    return choose


def prefers_html(accept: str) -> bool:
    """Return whether an Accept header names HTML, and nothing that is JSON with a higher weight."""
    weights = dict(parse_weights(accept))
    html = max(weights.get("text/html", 0.0), weights.get("application/xhtml+xml", 0.0))
    return html > 0 and html >= weights.get("application/json", 0.0)


def _relative_root(raw_path: str) -> str:
    """Return the relative URL that leads from a page to the gateway's root, also behind a proxy's prefix."""
    return "/".join([".."] * (raw_path.count("/") - 1)) or "."
