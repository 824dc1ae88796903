"""The route for predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api import responses
from gateway.api.body.reader import read_job
from gateway.api.handlers import stream
from gateway.api.keys import COMPONENTS
from gateway.api.paths import get_model_ref

if TYPE_CHECKING:
    from aiohttp import web


async def invoke(request: web.Request) -> web.StreamResponse:
    """POST …/invocation: the prediction of one model version, in one piece or as a stream."""
    ref = get_model_ref(request)
    if stream.wants_stream(request):
        return await stream.stream_response(request, ref)
    job = await read_job(request)
    return responses.prediction_response(await request.app[COMPONENTS].predictions.predict(ref, job))
