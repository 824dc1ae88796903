"""The routes of the Open Inference Protocol, version 2: health, metadata and inference."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from gateway.api import responses
from gateway.api.body import reader
from gateway.api.errors import HttpError
from gateway.api.keys import COMPONENTS
from gateway.api.large_answers import Content, large_response
from gateway.api.paths import get_model_name, get_model_ref
from gateway.api.resolved import answering_version, resolve_version
from gateway.api.v2 import metadata as v2_metadata
from workers.protocol.messages import OPEN_INFERENCE, Job

if TYPE_CHECKING:
    from gateway.serving.service import Prediction

_PROJECT: Final = "model-invocation-endpoint"
_EXTENSIONS: Final = ("binary_tensor_data", "model_repository")
_OCTET_STREAM: Final = "application/octet-stream"
_JSON_LENGTH_HEADER: Final = "Inference-Header-Content-Length"
_READY: Final = "READY"


async def server(request: web.Request) -> web.Response:
    """GET /v2: the server's name, version and extensions."""
    body = {"name": _PROJECT, "version": metadata.version(_PROJECT), "extensions": _EXTENSIONS}
    return responses.json_response(body)


async def ready(request: web.Request) -> web.Response:
    """GET /v2/health/ready: the same decision as /health/ready."""
    is_ready = request.app[COMPONENTS].ready
    return responses.json_response({"ready": is_ready}, status=200 if is_ready else 503)


async def model(request: web.Request) -> web.Response:
    """GET /v2/models/{name}[/versions/{version}]: the inputs and outputs of the signature."""
    components, version = request.app[COMPONENTS], await resolve_version(request)
    signature = await components.details.signature(version)
    numbers = [version.version]
    if "version" not in request.match_info:
        details = await components.catalog.get_model(get_model_name(request))
        numbers = [each.version for each in details.versions if each.status == _READY]
    return responses.json_response(v2_metadata.model_metadata(version.name, numbers, signature))


async def model_ready(request: web.Request) -> web.Response:
    """GET …/ready: whether a request to the version would be answered now, if need be after a load.

    Raises ModelLoadError while the backoff after a failed load lasts.
    """
    version, status = await answering_version(request)
    body = {"name": version.name, "version": version.version, "ready": True, "state": status.state}
    return responses.json_response(body)


async def infer(request: web.Request) -> web.StreamResponse:
    """POST …/infer: the outputs of one model version."""
    ref = get_model_ref(request)
    length = _parse_json_length(request)
    job = Job(await reader.read_body(request), OPEN_INFERENCE, OPEN_INFERENCE, length)
    return _prediction_response(await request.app[COMPONENTS].predictions.predict(ref, job))


def _parse_json_length(request: web.Request) -> int | None:
    """Return how many bytes of the body are JSON, or None for all of them.

    A request without Content-Type is valid. Raises HttpError for another type, or if the length is no number.
    """
    header, length = request.headers.get("Content-Type"), request.headers.get(_JSON_LENGTH_HEADER)
    is_binary = header is not None and header.partition(";")[0].strip().lower() == _OCTET_STREAM
    if not is_binary and reader.parse_content_type(header) != reader.JSON:
        message = f"The body must be {reader.JSON}, or {_OCTET_STREAM} with the header {_JSON_LENGTH_HEADER}."
        raise HttpError(415, "INVALID_PARAMETER_VALUE", message=message)
    if length is None and not is_binary:
        return None
    if length is None or not (length.isascii() and length.isdigit() and len(length) <= 18):
        message = (
            f"A binary body needs the header {_JSON_LENGTH_HEADER}: the number of its bytes that are JSON."
        )
        raise HttpError(400, "INVALID_PARAMETER_VALUE", message=message)
    return int(length)


def _prediction_response(prediction: Prediction) -> web.StreamResponse:
    """Return the worker's reply with the model's name and version in front; the reply is never parsed."""
    key, reply = prediction.resolution.version.key, prediction.reply
    prefix = _response_prefix(key.name, key.version)
    headers = responses.version_headers(prediction.resolution, prediction.timing)
    headers["Content-Type"] = reply.content_type
    if reply.json_length is not None:
        headers[_JSON_LENGTH_HEADER] = str(len(prefix) + reply.json_length - 1)
    if reply.large is not None:
        reply.large.skip(1)
        return large_response(Content(prefix, reply.large, b""), headers)
    return web.Response(body=b"".join((prefix, memoryview(reply.body)[1:])), headers=headers)


@lru_cache(maxsize=1024)
def _response_prefix(name: str, version: str) -> bytes:
    """Return the start of a JSON object, up to its third member."""
    return orjson.dumps({"model_name": name, "model_version": version})[:-1] + b","
