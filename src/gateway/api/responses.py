"""Answers as bytes: the reply's JSON is put between a head and a tail, never parsed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson
from aiohttp import web
from multidict import CIMultiDict

from workers.protocol.messages import CONTENT_TYPES, JSON

if TYPE_CHECKING:
    from gateway.domain.models import BestChoice, Resolution, SourceKind
    from gateway.serving.service import Prediction, Timing
    from workers.protocol.messages import ModelKey

_ORJSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def json_response(value: object, *, status: int = 200) -> web.Response:
    """`value` as a JSON answer; times are written in UTC with a Z, NaN and infinities as null."""
    headers = {"Content-Type": "application/json"}
    return web.Response(status=status, body=orjson.dumps(value, option=_ORJSON_OPTIONS), headers=headers)


def prediction_response(made: Prediction) -> web.Response:
    """The reply's predictions and which version made them, or the reply alone where it is whole."""
    resolution, reply = made.resolution, made.reply
    version = resolution.version
    tail, constant = _per_version_parts(version.key, version.source, resolution.best)
    headers = constant.copy()
    headers["Server-Timing"] = server_timing(made.timing)
    if reply.content_type != JSON:
        headers["Content-Type"] = CONTENT_TYPES.get(reply.content_type, reply.content_type)
    body = b"".join((b'{"predictions":', reply.body, tail)) if reply.wrapped else reply.body
    return web.Response(body=body, headers=headers)


def version_headers(resolution: Resolution, timing: Timing) -> CIMultiDict[str]:
    """Which version answers, and what it has taken so far."""
    version = resolution.version
    told = _per_version_parts(version.key, version.source, resolution.best)[1].copy()
    told["Server-Timing"] = server_timing(timing)
    return told


def server_timing(timing: Timing) -> str:
    """The legs of a request in milliseconds; those of a cold start only where it had one."""
    cold = ""
    if timing.download > 0:
        cold += f"download;dur={timing.download * 1000:.2f}, "
    if timing.load > 0:
        cold += f"load;dur={timing.load * 1000:.2f}, "
    return (
        f"resolve;dur={timing.resolve * 1000:.2f}, {cold}"
        f"queue;dur={timing.queue * 1000:.2f}, predict;dur={timing.predict * 1000:.2f}"
    )


@lru_cache(maxsize=1024)
def _per_version_parts(
    key: ModelKey, source: SourceKind, best: BestChoice | None
) -> tuple[bytes, CIMultiDict[str]]:
    """What all answers of one version share: the body's end, and the headers (copy before use)."""
    told: dict[str, object] = {"model": {"name": key.name, "version": key.version, "source": source}}
    if best is not None:
        told["best"] = {"metric": best.metric, "value": best.value, "order": best.order}
    headers = CIMultiDict(
        {
            "Content-Type": "application/json",
            "Model-Name": quote(key.name, safe=""),
            "Model-Version": key.version,
        }
    )
    return b"," + orjson.dumps(told)[1:], headers
