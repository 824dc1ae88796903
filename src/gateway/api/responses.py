"""Responses as bytes: a worker's JSON goes between a head and a tail, and is never parsed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson
from aiohttp import web
from multidict import CIMultiDict

from gateway.api.large_answers import Content, large_response
from gateway.api.middleware.security_headers import add_security_headers
from workers.protocol.messages import CONTENT_TYPES, JSON

if TYPE_CHECKING:
    from gateway.domain.models import BestChoice, Resolution, SourceKind
    from gateway.serving.service import Prediction, Timing
    from workers.protocol.messages import ModelKey

_START = b'{"predictions":'
_END = b"}"
_ORJSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def json_response(value: object, *, status: int = 200) -> web.Response:
    """Return `value` as a JSON response; times are in UTC with a Z, NaN and infinities are null."""
    headers = {"Content-Type": "application/json"}
    return web.Response(status=status, body=orjson.dumps(value, option=_ORJSON_OPTIONS), headers=headers)


def prediction_response(prediction: Prediction, *, names_version: bool = True) -> web.StreamResponse:
    """Return the worker's reply, with the model version added to the body if the reply is to be wrapped.

    Without `names_version` only the headers name it.
    """
    resolution, reply = prediction.resolution, prediction.reply
    version = resolution.version
    tail, constant_headers = _per_version_parts(version.key, version.source, resolution.best)
    if not names_version:
        tail = _END
    headers = constant_headers.copy()
    headers["Server-Timing"] = server_timing(prediction.timing)
    if reply.content_type != JSON:
        headers["Content-Type"] = CONTENT_TYPES.get(reply.content_type, reply.content_type)
    if reply.large is not None:
        start, end = (_START, tail) if reply.wrapped else (b"", b"")
        return large_response(Content(start, reply.large, end), headers)
    body = b"".join((_START, reply.body, tail)) if reply.wrapped else reply.body
    return web.Response(body=body, headers=headers)


def version_headers(resolution: Resolution, timing: Timing) -> CIMultiDict[str]:
    """Return the headers that name the model version and the time spent so far."""
    version = resolution.version
    headers = _per_version_parts(version.key, version.source, resolution.best)[1].copy()
    headers["Server-Timing"] = server_timing(timing)
    return headers


def server_timing(timing: Timing) -> str:
    """Return the phases of a request in milliseconds; download and load only if it waited for them."""
    cold_start = ""
    if timing.download > 0:
        cold_start += f"download;dur={timing.download * 1000:.2f}, "
    if timing.load > 0:
        cold_start += f"load;dur={timing.load * 1000:.2f}, "
    return (
        f"resolve;dur={timing.resolve * 1000:.2f}, {cold_start}"
        f"queue;dur={timing.queue * 1000:.2f}, predict;dur={timing.predict * 1000:.2f}"
    )


@lru_cache(maxsize=1024)
def _per_version_parts(
    key: ModelKey, source: SourceKind, best: BestChoice | None
) -> tuple[bytes, CIMultiDict[str]]:
    """Return the body's tail and the headers that all responses of a version share (copy before use)."""
    members: dict[str, object] = {"model": {"name": key.name, "version": key.version, "source": source}}
    if best is not None:
        members["best"] = {"metric": best.metric, "value": best.value, "order": best.order}
    headers = CIMultiDict(
        {
            "Content-Type": "application/json",
            "Model-Name": quote(key.name, safe=""),
            "Model-Version": key.version,
        }
    )
    add_security_headers(headers)
    return b"," + orjson.dumps(members)[1:], headers
