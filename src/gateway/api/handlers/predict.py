"""The routes that predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api import keys, responses
from gateway.api.body.reader import read_job
from gateway.api.handlers import stream
from gateway.api.paths import get_model_ref

if TYPE_CHECKING:
    from aiohttp import web


async def invoke(request: web.Request) -> web.StreamResponse:
    """POST …/invocation: the prediction of the version that the path names, whole or in chunks."""
    ref = get_model_ref(request)
    if stream.wants_stream(request):
        return await stream.stream_response(request, ref)
    job = await read_job(request)
    return responses.prediction_response(await request.app[keys.SERVING].predict(ref, job))
