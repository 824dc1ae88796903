"""The routes of `mlflow models serve`, below the address of each version, for the clients of that server.

Answers have the form and the status that MLflow 3.17 and 2.22 give (`mlflow/pyfunc/scoring_server`). An error
has `error_code` and `message` as there; it has never a `stack_trace`.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.api import responses
from gateway.api.body.reader import read_job
from gateway.api.errors import ModelRaised
from gateway.api.keys import COMPONENTS
from gateway.api.paths import get_model_ref
from gateway.api.resolved import answering_version, resolve_version
from workers.errors import ModelError

if TYPE_CHECKING:
    from gateway.domain.refs import ModelRef
    from gateway.serving.service import Prediction
    from workers.protocol.messages import Job

_HEADERS = {"Content-Type": "application/json"}


async def invoke(request: web.Request) -> web.StreamResponse:
    """POST …/invocations: `{"predictions": …}` and nothing else; headers name the version.

    MLflow's server answers in JSON whatever `Accept` says, and has no streams.
    """
    ref = get_model_ref(request)
    job = await read_job(request, ignore_accept=True)
    return responses.prediction_response(await _predict(request, ref, job), names_version=False)


async def _predict(request: web.Request, ref: ModelRef, job: Job) -> Prediction:
    try:
        return await request.app[COMPONENTS].predictions.predict(ref, job)
    except ModelError as error:
        raise ModelRaised(str(error), exception=error.exception, text=error.text, log=error.log) from error


async def ping(request: web.Request) -> web.Response:
    """GET …/ping and …/health: 200 if a prediction would be answered now, if need be after a load."""
    await answering_version(request)
    return web.Response(body=b"\n", headers=_HEADERS)


async def version(request: web.Request) -> web.Response:
    """GET …/version: the version of MLflow that loads the models here, without quotes, as MLflow has it."""
    await resolve_version(request)
    return web.Response(body=_mlflow_version(), headers=_HEADERS)


@cache
def _mlflow_version() -> bytes:
    return metadata.version("mlflow").encode()
