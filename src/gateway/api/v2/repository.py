"""The routes of the Open Inference Protocol's repository: which models are loaded, load one, unload one.

Nothing can be loaded here that MLflow does not hold; a caller names a model, never a location.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.api import keys, responses
from gateway.api.body import reader
from gateway.api.errors import HttpError
from gateway.api.paths import get_model_name
from gateway.domain.refs import ModelRef, parse_selector

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.catalog import Catalog
    from gateway.domain.models import Model, ModelVersion
    from workers.pool.status import ModelStatus
    from workers.protocol.messages import ModelKey

_MAX_BODY_BYTES: Final = 64 * 1024
_PAGE_SIZE: Final = 1000
_STATES: Final = {"warm": "READY", "loading": "LOADING"}
_NOT_LOADED_REASON: Final = "not loaded; the first request loads it"


async def index(request: web.Request) -> web.Response:
    """POST /v2/repository/index: what is loaded, and of each other model its latest version."""
    document = await _read_json_object(request)
    only_ready = document.get("ready", False)
    if not isinstance(only_ready, bool):
        raise _invalid_parameter("ready must be true or false.")
    states = request.app[keys.POOL].statuses()
    entries = [
        _loaded_entry(key, state) for key, state in states.items() if state.state == "warm" or not only_ready
    ]
    if not only_ready:
        loaded = {(key.name, key.version) for key in states}
        models = await _list_all_models(request.app[keys.CATALOG])
        entries += [_unloaded_entry(model) for model in models if (model.name, model.latest) not in loaded]
    return responses.json_response(entries)


async def load(request: web.Request) -> web.Response:
    """POST /v2/repository/models/{name}/load: have the latest version warm, or `parameters.version`."""
    parameters = await _read_parameters(request, "version")
    version = await _resolve_version(request, parameters.get("version", "latest"))
    await request.app[keys.SERVING].ensure_loaded(version)
    return responses.json_response({"name": version.name, "version": version.version, "state": "READY"})


async def unload(request: web.Request) -> web.Response:
    """POST /v2/repository/models/{name}/unload: end the workers of every version, or of one.

    What they were asked already they answer first. Raises NotFound for a model that is not there.
    """
    parameters = await _read_parameters(request, "version", "unload_dependents")
    pool, name = request.app[keys.POOL], get_model_name(request)
    if "version" in parameters:
        found = [(await _resolve_version(request, parameters["version"])).key]
    else:
        found = [key for key in pool.statuses() if key.name == name]
    loaded = [key for key in found if pool.is_loaded(key)]
    if not found:
        await request.app[keys.CATALOG].get_model(name)
    await pool.unload(*loaded)
    return responses.json_response({"name": name, "unloaded": [key.version for key in loaded]})


async def _resolve_version(request: web.Request, text: object) -> ModelVersion:
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise _invalid_parameter("version must be a number, latest, best or @alias.")
    ref, catalog = ModelRef(get_model_name(request), parse_selector(str(text))), request.app[keys.CATALOG]
    return (catalog.resolve_cached(ref) or await catalog.resolve(ref)).version


async def _read_parameters(request: web.Request, *known: str) -> dict[str, Any]:
    """The body's parameters. Raises HttpError for one that is not known (Triton's `config`, `file:…`)."""
    parameters = (await _read_json_object(request)).get("parameters") or {}
    if not isinstance(parameters, dict):
        raise _invalid_parameter("parameters must be an object.")
    if unknown := sorted(set(parameters) - set(known)):
        raise _invalid_parameter(
            f"The parameter {unknown[0][:100]!r} is not known; there are {', '.join(known)}."
        )
    return parameters


async def _read_json_object(request: web.Request) -> dict[str, Any]:
    """The body as an object, an empty one where there is none; its Content-Type does not matter."""
    content = await reader.read_body(request)
    if len(content) > _MAX_BODY_BYTES:
        message = f"The body is larger than {_MAX_BODY_BYTES} bytes, which is as much as this route takes."
        raise HttpError(413, "RESOURCE_LIMIT_EXCEEDED", message=message)
    try:
        document = orjson.loads(content) if content.strip() else {}
    except orjson.JSONDecodeError as error:
        raise _invalid_parameter("The body is not valid JSON.") from error
    if not isinstance(document, dict):
        raise _invalid_parameter("The body must be a JSON object.")
    return document


def _invalid_parameter(message: str) -> HttpError:
    return HttpError(400, "INVALID_PARAMETER_VALUE", message=message)


async def _list_all_models(catalog: Catalog) -> list[Model]:
    models: list[Model] = []
    token: str | None = None
    while True:
        page = await catalog.list_models(max_results=_PAGE_SIZE, page_token=token, name_contains="")
        models += page.models
        token = page.next_page_token
        if not token:
            return models


def _loaded_entry(key: ModelKey, state: ModelStatus) -> dict[str, str]:
    return {
        "name": key.name,
        "version": key.version,
        "state": _STATES.get(state.state, "UNAVAILABLE"),
        "reason": state.reason or "",
    }


def _unloaded_entry(model: Model) -> dict[str, str]:
    reason = "no version is READY in MLflow" if model.latest is None else _NOT_LOADED_REASON
    return {"name": model.name, "version": model.latest or "", "state": "UNAVAILABLE", "reason": reason}
