"""The routes that tell of models and versions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.api import keys, responses, schemas
from gateway.api.paths import name_of, ref_of
from gateway.errors import BadRequest

if TYPE_CHECKING:
    from aiohttp import web

_DEFAULT = 100
_MOST = 1000


async def list_models(request: web.Request) -> web.Response:
    """GET /model: registered models and experiments, a page at a time."""
    query = request.query
    page = await request.app[keys.CATALOG].models(
        max_results=_max_results(query.get("max_results")),
        page_token=query.get("page_token") or None,
        name_contains=query.get("filter", ""),
    )
    return responses.json(schemas.page(page))


async def show_model(request: web.Request) -> web.Response:
    """GET /model/{name}: one model with all its versions."""
    details = await request.app[keys.CATALOG].model(name_of(request))
    # An experiment may have a hundred thousand versions.
    return await asyncio.to_thread(lambda: responses.json(schemas.details(details)))


async def show_version(request: web.Request) -> web.Response:
    """GET /model/{name}/{version}: one version, whole."""
    return responses.json(schemas.version_details(await request.app[keys.DETAILS].of(ref_of(request))))


def _max_results(text: str | None) -> int:
    if not text:
        return _DEFAULT
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MOST:
        return int(text)
    raise BadRequest(f"max_results must be a whole number from 1 to {_MOST}.")
