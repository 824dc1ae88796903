"""The routes of the Open Inference Protocol, version 2: health, metadata and inference."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from gateway.api import keys, responses
from gateway.api.body import reader
from gateway.api.errors import HttpError
from gateway.api.handlers import health
from gateway.api.paths import get_model_name, get_model_ref
from gateway.api.v2 import metadata as v2_metadata
from workers.errors import ModelLoadError
from workers.protocol.messages import OPEN_INFERENCE, Job

if TYPE_CHECKING:
    from gateway.domain.models import Resolution
    from gateway.serving.service import Prediction

_PROJECT: Final = "model-invocation-endpoint"
_EXTENSIONS: Final = ("binary_tensor_data", "model_repository")
_OCTET_STREAM: Final = "application/octet-stream"
_JSON_LENGTH_HEADER: Final = "Inference-Header-Content-Length"
_READY: Final = "READY"


async def server(request: web.Request) -> web.Response:
    """GET /v2: what answers here."""
    body = {"name": _PROJECT, "version": metadata.version(_PROJECT), "extensions": _EXTENSIONS}
    return responses.json_response(body)


async def ready(request: web.Request) -> web.Response:
    """GET /v2/health/ready: as /health/ready decides."""
    is_ready = health.is_ready(request.app)
    return responses.json_response({"ready": is_ready}, status=200 if is_ready else 503)


async def model(request: web.Request) -> web.Response:
    """GET /v2/models/{name}[/versions/{version}]: inputs and outputs, by the signature."""
    resolution = await _resolve(request)
    version = resolution.version
    signature = await request.app[keys.DETAILS].signature(version)
    versions = [version.version]
    if "version" not in request.match_info:
        details = await request.app[keys.CATALOG].get_model(get_model_name(request))
        versions = [each.version for each in details.versions if each.status == _READY]
    return responses.json_response(v2_metadata.model_metadata(version.name, versions, signature))


async def model_ready(request: web.Request) -> web.Response:
    """GET …/ready: whether the version would answer now, loading it first where it is cold.

    Raises LoadFailed while the memory of a failed load lasts.
    """
    version = (await _resolve(request)).version
    state = request.app[keys.POOL].status(version.key)
    if state.state == "failed":
        raise ModelLoadError(state.reason or "The model could not be loaded.")
    body = {"name": version.name, "version": version.version, "ready": True, "state": state.state}
    return responses.json_response(body)


async def infer(request: web.Request) -> web.Response:
    """POST …/infer: the outputs of the version that the path names."""
    ref = get_model_ref(request)
    length = _parse_json_length(request)
    job = Job(await reader.read_body(request), OPEN_INFERENCE, OPEN_INFERENCE, length)
    return _prediction_response(await request.app[keys.SERVING].predict(ref, job))


async def _resolve(request: web.Request) -> Resolution:
    ref, catalog = get_model_ref(request), request.app[keys.CATALOG]
    return catalog.resolve_cached(ref) or await catalog.resolve(ref)


def _parse_json_length(request: web.Request) -> int | None:
    """How much of the body is JSON, None for all of it; a missing Content-Type is no fault.

    Raises HttpError for other types, and for a length that is no number.
    """
    header, length = request.headers.get("Content-Type"), request.headers.get(_JSON_LENGTH_HEADER)
    is_binary = header is not None and header.partition(";")[0].strip().lower() == _OCTET_STREAM
    if not is_binary and reader.parse_content_type(header) != reader.JSON:
        message = f"Bodies are {reader.JSON} here, or {_OCTET_STREAM} with the header {_JSON_LENGTH_HEADER}."
        raise HttpError(415, "INVALID_PARAMETER_VALUE", message=message)
    if length is None and not is_binary:
        return None
    if length is None or not (length.isascii() and length.isdigit() and len(length) <= 18):
        message = f"A binary body has a header {_JSON_LENGTH_HEADER}: how many bytes of it are JSON."
        raise HttpError(400, "INVALID_PARAMETER_VALUE", message=message)
    return int(length)


def _prediction_response(made: Prediction) -> web.Response:
    """The worker's answer, with the model's name and version put in front; it is never parsed."""
    key, reply = made.resolution.version.key, made.reply
    head = _response_prefix(key.name, key.version)
    headers = responses.version_headers(made.resolution, made.timing)
    headers["Content-Type"] = reply.content_type
    if reply.json_length is not None:
        headers[_JSON_LENGTH_HEADER] = str(len(head) + reply.json_length - 1)
    return web.Response(body=b"".join((head, memoryview(reply.body)[1:])), headers=headers)


@lru_cache(maxsize=1024)
def _response_prefix(name: str, version: str) -> bytes:
    """A JSON object's beginning, up to where its first other member follows."""
    return orjson.dumps({"model_name": name, "model_version": version})[:-1] + b","
