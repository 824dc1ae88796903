"""The routes that describe models and versions."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.api import responses, schemas
from gateway.api.keys import COMPONENTS
from gateway.api.paths import get_model_name, get_model_ref
from gateway.auth.actions import Action
from gateway.auth.principal import current_principal
from gateway.domain.models import ModelPage
from gateway.errors import BadRequest

if TYPE_CHECKING:
    from aiohttp import web

_DEFAULT_MAX_RESULTS = 100
_MAX_RESULTS_LIMIT = 1000


async def list_models(request: web.Request) -> web.Response:
    """GET /model: one page of the registered models and experiments."""
    query = request.query
    page = await find_models(
        request,
        max_results=_parse_max_results(query.get("max_results")),
        page_token=query.get("page_token") or None,
        name_contains=query.get("filter", ""),
    )
    return responses.json_response(schemas.model_page_json(page))


async def find_models(
    request: web.Request, *, max_results: int, page_token: str | None, name_contains: str
) -> ModelPage:
    """Return one page of the models that the caller may read; raise BadRequest for a wrong token."""
    catalog, rights = request.app[COMPONENTS].catalog, current_principal.get().rights
    if rights.reads == "none":
        return ModelPage(())
    search = catalog.list_models if rights.reads == "all" else partial(catalog.list_readable, rights.readable)
    return await search(max_results=max_results, page_token=page_token, name_contains=name_contains)


async def show_model(request: web.Request) -> web.Response:
    """GET /model/{name}: one model with all its versions."""
    details = await request.app[COMPONENTS].catalog.get_model(get_model_name(request))
    # An experiment may have 100,000 versions.
    return await asyncio.to_thread(lambda: responses.json_response(schemas.model_details_json(details)))


async def show_version(request: web.Request) -> web.Response:
    """GET /model/{name}/{version}: all that is known of one version."""
    components = request.app[COMPONENTS]
    details, status = await components.details.get(get_model_ref(request))
    environment = components.engine.environment(details.version.key)
    is_fleet = components.snapshot_slot.node_number is None
    with_nodes = is_fleet and current_principal.get().rights.allows_route(Action.STATUS)
    return responses.json_response(
        schemas.version_details_json(details, status, environment, with_nodes=with_nodes)
    )


def _parse_max_results(text: str | None) -> int:
    if text is None:
        return _DEFAULT_MAX_RESULTS
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MAX_RESULTS_LIMIT:
        return int(text)
    raise BadRequest(f"max_results must be a whole number from 1 to {_MAX_RESULTS_LIMIT}.")
