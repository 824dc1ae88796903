"""What a page polls: rows, texts and events that changed, built once a second however many pages are open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.api.access import require
from gateway.auth.actions import Action
from gateway.auth.principal import current_principal
from gateway.console import serving, traffic
from gateway.console.console import CONSOLE
from gateway.console.event_items import to_items, visible_since
from gateway.console.model_list import Filter, build_model_list
from gateway.console.overview import build_banner, build_overview
from gateway.console.response_cache import CachedResponse
from gateway.domain.refs import parse_selector
from gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from gateway.auth.rights import Rights
    from gateway.console.console import Console

_MAX_QUERY: Final = 4096
_MAX_EVENTS: Final = 30


async def show(request: web.Request) -> web.Response:
    """GET /console/state: what changed on a page; 304 if nothing did since the tag of `If-None-Match`.

    Callers who may read all models share what was built in the last second.
    """
    if len(request.query_string) > _MAX_QUERY:
        raise BadRequest("The query is too long.")
    console, rights = request.app[CONSOLE], current_principal.get().rights
    if rights.reads != "all":
        return CachedResponse.of(await _build(console, request, rights)).to(request)
    # Decoded, two queries may look the same.
    key = f"state {rights.allows_route(Action.STATUS)} {request.rel_url.raw_query_string}"
    return (await console.responses.get(key, lambda: _build(console, request, rights))).to(request)


async def charts(request: web.Request) -> web.Response:
    """GET /console/charts: the series of the last 15 minutes; they change every five seconds."""
    console = request.app[CONSOLE]

    async def build() -> dict[str, Any]:
        return traffic.chart_data(console.components.history)

    return (await console.responses.get("charts", build)).to(request)


async def _build(console: Console, request: web.Request, rights: Rights) -> dict[str, Any]:
    query = request.query
    state = await _build_view(console, query, rights)
    page = await visible_since(console.components.events, rights, query.get("after", ""))
    events = to_items(page.events[-_MAX_EVENTS:]) if "after" in query else []
    state |= {"cursor": page.cursor, "events": events, "banner": build_banner(console)}
    if rights.allows_route(Action.STATUS):
        state["fields"] = state.get("fields", {}) | build_overview(console).fields()
    return state


async def _build_view(console: Console, query: Mapping[str, str], rights: Rights) -> dict[str, Any]:
    """Return the state of the view that the query names, if the caller may see that."""
    view, name, version = query.get("view", ""), query.get("name", ""), query.get("version", "")
    if view == "models":
        models = await build_model_list(console, Filter.of(query), rights)
        return {"rows": {row.name: row.live() for row in models.rows}}
    if view == "model":
        await require(Action.READ, name, None)
        return await serving.model_state(console, name, rights)
    if view == "version":
        await require(Action.READ, name, parse_selector(version))
        return serving.version_state(console, name, version, rights)
    if view == "gateway" and rights.allows_route(Action.STATUS):
        return serving.gateway_state(console)
    return {}
