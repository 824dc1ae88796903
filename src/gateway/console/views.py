"""The views: for each page its path, its template, what a caller must be allowed, and what it shows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson

from gateway.api import access, schemas
from gateway.api.keys import COMPONENTS
from gateway.api.paths import get_model_name, get_model_ref
from gateway.auth.actions import Action
from gateway.auth.principal import current_principal
from gateway.console import mlflow_links, nodes, rows, serving, signature
from gateway.console.console import CONSOLE
from gateway.console.event_items import to_items, visible_since
from gateway.console.form import build_form
from gateway.console.model_list import Filter, build_model_list
from gateway.console.settings_table import setting_rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from gateway.api.access import Access
    from gateway.auth.rights import Rights

    Context = dict[str, object]

_MAX_EVENTS: Final = 200
_EVENTS_OF_ONE: Final = 20


@dataclass(frozen=True, slots=True)
class View:
    """One page; `build` returns the names of its template."""

    path: str
    template: str
    access: Access
    build: Callable[[web.Request], Awaitable[Context]]


async def models(request: web.Request) -> Context:
    """Return what the list of models shows."""
    choice, rights = Filter.of(request.query), current_principal.get().rights
    found = await build_model_list(request.app[CONSOLE], choice, rights, wait=True)
    query = {"q": choice.contains, "only": choice.only, "source": choice.source}
    next_query = urlencode({key: value for key, value in query.items() if value} | {"page": found.next_token})
    return {
        "title": "Models",
        "models": found,
        "choice": choice,
        "symbols": rows.SYMBOLS,
        "columns": rows.LIVE,
        "next_query": next_query if found.next_token else "",
        "charts": rights.allows_route(Action.STATUS),
    }


async def model(request: web.Request) -> Context:
    """Return what the page of a model shows."""
    console, rights, name = request.app[CONSOLE], current_principal.get().rights, get_model_name(request)
    shown = await console.summaries.shown(name)
    numbers = [version.version for version in shown.versions]
    return {
        "title": name,
        "shown": shown,
        "model": shown.summary.model,
        "best": rows.best_text(shown.summary.best),
        "live": serving.version_texts(console, name, numbers, rights),
        "symbols": rows.SYMBOLS,
        "columns": serving.LIVE,
        "events": await _events_of(request, rights, name),
    }


async def version(request: web.Request) -> Context:
    """Return what the page of a version shows: the JSON of its route, the form to try it, and its state."""
    components, console = request.app[COMPONENTS], request.app[CONSOLE]
    rights = current_principal.get().rights
    details, status = await components.details.get(get_model_ref(request))
    environment = components.engine.environment(details.version.key)
    document = await asyncio.to_thread(_plain, schemas.version_details_json(details, status, environment))
    form = await asyncio.to_thread(build_form, document["signature"], details.input_example)
    name, number = str(document["name"]), str(document["version"])
    texts = serving.version_state(console, name, number, rights)["fields"]
    base = _mlflow_base(request, rights)
    run = document["run"] or {}
    return {
        "title": f"{name} version {number}",
        "version": document,
        "form": form,
        "live": {key.partition(":")[2]: value for key, value in texts.items()},
        "parts": await asyncio.to_thread(_signature_parts, document["signature"]),
        "events": await _events_of(request, rights, name, number),
        "limits": components.settings.value,
        "own_environments": components.engine.may_have_environment(details.version),
        "has_nodes": any(each.nodes for each in console.processes.snapshots()),
        "may_manage": await rights.ask(Action.MANAGE, name, None),
        "mlflow_version": mlflow_links.version_address(base, name, number)
        if document["source"] == "registry"
        else "",
        "mlflow_run": mlflow_links.run_address(base, run.get("experiment_id", ""), run.get("run_id", "")),
    }


async def events(request: web.Request) -> Context:
    """Return what the list of events shows, the newest first."""
    page = await visible_since(request.app[COMPONENTS].events, current_principal.get().rights)
    return {"title": "Events", "events": to_items(page.events[: -_MAX_EVENTS - 1 : -1])}


async def gateway(request: web.Request) -> Context:
    """Return what the page of the gateway shows."""
    components, console = request.app[COMPONENTS], request.app[CONSOLE]
    rights = current_principal.get().rights
    settings, snapshots = components.settings.value, console.processes.snapshots()
    page = await visible_since(components.events, rights)
    errors = [event for event in reversed(page.events) if event.level == "error"]
    return {
        "title": "Gateway",
        "processes": serving.process_rows(console),
        "columns": serving.PROCESS,
        "nodes": nodes.node_rows(snapshots),
        "node_count": nodes.count_nodes(snapshots)[1],
        "node_columns": nodes.COLUMNS,
        "node_symbols": nodes.SYMBOLS,
        "memory": serving.memory_rows(snapshots),
        "figures": {
            name: sum(each.figures[name] for each in snapshots)
            for name in ("cache_downloads", "cache_downloaded_bytes", "cache_evictions", "stale_answers")
        },
        "catalog": components.catalog,
        "mlflow_address": _mlflow_base(request, rights),
        "wall": components.wall.text,
        "settings": settings,
        "setting_rows": setting_rows(settings),
        "errors": to_items(errors[:_EVENTS_OF_ONE]),
    }


async def _events_of(
    request: web.Request, rights: Rights, name: str, version: str | None = None
) -> list[dict[str, str]]:
    """Return the last events of a model, or of one version and of the aliases of its model."""
    page = await visible_since(request.app[COMPONENTS].events, rights)
    found = [
        event
        for event in page.events
        if event.model == name and (version is None or event.version == version)
    ]
    return to_items(found[: -_EVENTS_OF_ONE - 1 : -1])


def _mlflow_base(request: web.Request, rights: Rights) -> str:
    """Return where MLflow's pages are, for callers who may see the gateway's state."""
    if not rights.allows_route(Action.STATUS):
        return ""
    return mlflow_links.base_address(request.app[COMPONENTS].settings.value.mlflow)


def _signature_parts(found: dict[str, Any] | None) -> list[tuple[str, list[signature.Column], int]]:
    titles = (("inputs", "Inputs"), ("params", "Params"), ("outputs", "Outputs"))
    parts = [(title, (found or {}).get(part)) for part, title in titles]
    return [(title, signature.columns(part), signature.count(part)) for title, part in parts if part]


def _plain(document: dict[str, object]) -> dict[str, Any]:
    """Return a document as its reader gets it: texts for times, and the input example parsed."""
    plain: dict[str, Any] = orjson.loads(orjson.dumps(document, option=orjson.OPT_UTC_Z))
    return plain


_NAME: Final = "{name:[^/]+}"
_VERSION: Final = "{version:[^/]+}"
VIEWS: Final = (
    View("/", "models.html", access.LIST, models),
    View(f"/ui/models/{_NAME}", "model.html", access.READ_MODEL, model),
    View(f"/ui/models/{_NAME}/{_VERSION}", "version.html", access.READ_VERSION, version),
    View("/ui/events", "events.html", access.LIST, events),
    View("/ui/gateway", "gateway.html", access.STATUS, gateway),
)
