"""The routes of the Open Inference Protocol's model repository: list, load and unload models.

A client can load only models of the MLflow server: it gives a name, never a location.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.api import responses
from gateway.api.access import require
from gateway.api.body import reader
from gateway.api.errors import HttpError
from gateway.api.keys import COMPONENTS
from gateway.api.middleware.auditing import managed_version
from gateway.api.paths import get_model_name
from gateway.auth.actions import Action
from gateway.auth.principal import current_principal
from gateway.domain.refs import ModelRef, parse_selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from gateway.auth.rights import Rights
    from gateway.catalog import Catalog
    from gateway.domain.models import Model, ModelVersion
    from workers.pool.status import ModelStatus
    from workers.protocol.messages import ModelKey

_MAX_BODY_BYTES: Final = 64 * 1024
_MAX_READABLE: Final = 100_000
_STATES: Final = {"warm": "READY", "loading": "LOADING"}
_NOT_LOADED_REASON: Final = "not loaded; the first request loads it"


async def index(request: web.Request) -> web.Response:
    """POST /v2/repository/index: the loaded versions, and the latest version of every other model."""
    document = await _read_json_object(request)
    only_ready = document.get("ready", False)
    if not isinstance(only_ready, bool):
        raise _invalid_parameter("ready must be true or false.")
    statuses, rights = request.app[COMPONENTS].engine.statuses(), current_principal.get().rights
    entries = [
        _loaded_entry(key, status)
        for key, status in statuses.items()
        if status.state == "warm" or not only_ready
    ]
    if not only_ready:
        loaded = {(key.name, key.version) for key in statuses}
        models = await _list_models(request.app[COMPONENTS].catalog, rights)
        entries += [_unloaded_entry(model) for model in models if (model.name, model.latest) not in loaded]
    readable = await rights.readable(entry["name"] for entry in entries)
    return responses.json_response([entry for entry in entries if entry["name"] in readable])


async def load(request: web.Request) -> web.Response:
    """POST /v2/repository/models/{name}/load: load the latest version, or `parameters.version`."""
    parameters = await _read_parameters(request, "version")
    ref = _parse_ref(request, parameters.get("version", "latest"))
    await require(Action.MANAGE, ref.name, ref.selector)
    version = await _resolve_version(request, ref)
    managed_version.set(version.version)
    await request.app[COMPONENTS].predictions.ensure_loaded(version)
    return responses.json_response({"name": version.name, "version": version.version, "state": "READY"})


async def unload(request: web.Request) -> web.Response:
    """POST /v2/repository/models/{name}/unload: unload every version, or `parameters.version`.

    The workers answer their queued requests first. Raises NotFound if there is no such model.
    """
    parameters = await _read_parameters(request, "version", "unload_dependents")
    engine, name = request.app[COMPONENTS].engine, get_model_name(request)
    ref = _parse_ref(request, parameters["version"]) if "version" in parameters else None
    await require(Action.MANAGE, name, None if ref is None else ref.selector)
    if ref is not None:
        keys = [(await _resolve_version(request, ref)).key]
    else:
        keys = [key for key in engine.statuses() if key.name == name]
    loaded = [key for key in keys if engine.is_loaded(key)]
    if not keys:
        await request.app[COMPONENTS].catalog.get_model(name)
    managed_version.set(", ".join(key.version for key in loaded) or None)
    await engine.unload(*loaded)
    return responses.json_response({"name": name, "unloaded": [key.version for key in loaded]})


def _parse_ref(request: web.Request, text: object) -> ModelRef:
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise _invalid_parameter(
            "version must be a number, latest, best, @alias, or the id of a logged model or run."
        )
    return ModelRef(get_model_name(request), parse_selector(str(text)))


async def _resolve_version(request: web.Request, ref: ModelRef) -> ModelVersion:
    catalog = request.app[COMPONENTS].catalog
    return (catalog.resolve_cached(ref) or await catalog.resolve(ref)).version


async def _read_parameters(request: web.Request, *known: str) -> dict[str, Any]:
    """Return the body's parameters; raises HttpError for an unknown one (Triton's `config`, `file:…`)."""
    parameters = (await _read_json_object(request)).get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise _invalid_parameter("parameters must be an object.")
    if unknown := sorted(set(parameters) - set(known)):
        message = (
            f"The parameter {unknown[0][:100]!r} is unknown; the known parameters are {', '.join(known)}."
        )
        raise _invalid_parameter(message)
    return parameters


async def _read_json_object(request: web.Request) -> dict[str, Any]:
    """Return the body's JSON object, or an empty one if there is no body; ignores Content-Type."""
    content = await reader.read_body(request)
    if len(content) > _MAX_BODY_BYTES:
        message = f"The body is larger than this route's limit of {_MAX_BODY_BYTES} bytes."
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


async def _list_models(catalog: Catalog, rights: Rights) -> Sequence[Model]:
    if rights.reads == "none":
        return ()
    if rights.reads == "all":
        return await catalog.list_all_models()
    page = await catalog.list_readable(
        rights.readable, max_results=_MAX_READABLE, page_token=None, name_contains=""
    )
    return page.models


def _loaded_entry(key: ModelKey, status: ModelStatus) -> dict[str, str]:
    return {
        "name": key.name,
        "version": key.version,
        "state": _STATES.get(status.state, "UNAVAILABLE"),
        "reason": status.reason or "",
    }


def _unloaded_entry(model: Model) -> dict[str, str]:
    reason = "no version is READY in MLflow" if model.latest is None else _NOT_LOADED_REASON
    return {"name": model.name, "version": model.latest or "", "state": "UNAVAILABLE", "reason": reason}
