"""The routes that predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api import answers, keys
from gateway.api.bodies import job_of
from gateway.api.paths import ref_of

if TYPE_CHECKING:
    from aiohttp import web


async def invoke(request: web.Request) -> web.Response:
    """POST …/invocation: the prediction of the version that the path names."""
    ref = ref_of(request)
    job = await job_of(request)
    return answers.prediction(await request.app[keys.SERVING].predict(ref, job))
