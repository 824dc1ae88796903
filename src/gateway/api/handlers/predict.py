"""The routes that predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api import keys, responses
from gateway.api.body.reader import job_of
from gateway.api.handlers import stream
from gateway.api.paths import ref_of

if TYPE_CHECKING:
    from aiohttp import web


async def invoke(request: web.Request) -> web.StreamResponse:
    """POST …/invocation: the prediction of the version that the path names, whole or in chunks."""
    ref = ref_of(request)
    if stream.wanted(request):
        return await stream.answer(request, ref)
    job = await job_of(request)
    return responses.prediction(await request.app[keys.SERVING].predict(ref, job))
