"""The routes of the Open Inference Protocol's repository: which models are loaded, load one, unload one.

Nothing can be loaded here that MLflow does not hold; a caller names a model, never a location.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.api import keys, responses
from gateway.api.body import reader
from gateway.api.errors import HttpRefusal
from gateway.api.paths import name_of
from gateway.domain.refs import ModelRef, selector

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.catalog import Catalog
    from gateway.domain.models import Model, ModelVersion
    from workers.pool.status import ModelStatus
    from workers.protocol.messages import ModelKey

_LONGEST_BODY: Final = 64 * 1024
_PAGE: Final = 1000
_STATES: Final = {"warm": "READY", "loading": "LOADING"}
_COLD: Final = "not loaded; the first request loads it"


async def index(request: web.Request) -> web.Response:
    """POST /v2/repository/index: what is loaded, and of each other model its latest version."""
    document = await _document(request)
    only_ready = document.get("ready", False)
    if not isinstance(only_ready, bool):
        raise _wrong("ready must be true or false.")
    states = request.app[keys.POOL].statuses()
    entries = [_entry(key, state) for key, state in states.items() if state.state == "warm" or not only_ready]
    if not only_ready:
        loaded = {(key.name, key.version) for key in states}
        models = await _every_model(request.app[keys.CATALOG])
        entries += [_cold(model) for model in models if (model.name, model.latest) not in loaded]
    return responses.json(entries)


async def load(request: web.Request) -> web.Response:
    """POST /v2/repository/models/{name}/load: have the latest version warm, or `parameters.version`."""
    parameters = await _parameters(request, "version")
    version = await _version(request, parameters.get("version", "latest"))
    await request.app[keys.SERVING].warm(version)
    return responses.json({"name": version.name, "version": version.version, "state": "READY"})


async def unload(request: web.Request) -> web.Response:
    """POST /v2/repository/models/{name}/unload: end the workers of every version, or of one.

    What they were asked already they answer first. Raises NotFound for a model that is not there.
    """
    parameters = await _parameters(request, "version", "unload_dependents")
    pool, name = request.app[keys.POOL], name_of(request)
    if "version" in parameters:
        found = [(await _version(request, parameters["version"])).key]
    else:
        found = [key for key in pool.statuses() if key.name == name]
    loaded = [key for key in found if pool.is_loaded(key)]
    if not found:
        await request.app[keys.CATALOG].model(name)
    await pool.unload(*loaded)
    return responses.json({"name": name, "unloaded": [key.version for key in loaded]})


async def _version(request: web.Request, text: object) -> ModelVersion:
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise _wrong("version must be a number, latest, best or @alias.")
    ref, catalog = ModelRef(name_of(request), selector(str(text))), request.app[keys.CATALOG]
    return (catalog.fresh(ref) or await catalog.resolve(ref)).version


async def _parameters(request: web.Request, *known: str) -> dict[str, Any]:
    """The body's parameters. Raises HttpRefusal for one that is not known (Triton's `config`, `file:…`)."""
    parameters = (await _document(request)).get("parameters") or {}
    if not isinstance(parameters, dict):
        raise _wrong("parameters must be an object.")
    if unknown := sorted(set(parameters) - set(known)):
        raise _wrong(f"The parameter {unknown[0][:100]!r} is not known; there are {', '.join(known)}.")
    return parameters


async def _document(request: web.Request) -> dict[str, Any]:
    """The body as an object, an empty one where there is none; its Content-Type does not matter."""
    content = await reader.content_of(request)
    if len(content) > _LONGEST_BODY:
        message = f"The body is larger than {_LONGEST_BODY} bytes, which is as much as this route takes."
        raise HttpRefusal(413, "RESOURCE_LIMIT_EXCEEDED", message=message)
    try:
        document = orjson.loads(content) if content.strip() else {}
    except orjson.JSONDecodeError as error:
        raise _wrong("The body is not valid JSON.") from error
    if not isinstance(document, dict):
        raise _wrong("The body must be a JSON object.")
    return document


def _wrong(message: str) -> HttpRefusal:
    return HttpRefusal(400, "INVALID_PARAMETER_VALUE", message=message)


async def _every_model(catalog: Catalog) -> list[Model]:
    models: list[Model] = []
    token: str | None = None
    while True:
        page = await catalog.models(max_results=_PAGE, page_token=token, name_contains="")
        models += page.models
        token = page.next_page_token
        if not token:
            return models


def _entry(key: ModelKey, state: ModelStatus) -> dict[str, str]:
    return {
        "name": key.name,
        "version": key.version,
        "state": _STATES.get(state.state, "UNAVAILABLE"),
        "reason": state.reason or "",
    }


def _cold(model: Model) -> dict[str, str]:
    reason = "no version is READY in MLflow" if model.latest is None else _COLD
    return {"name": model.name, "version": model.latest or "", "state": "UNAVAILABLE", "reason": reason}
