"""Answers as server-sent events, one per chunk that the model yields.

Their form is that of MLflow's agent server (`AgentServer._generate` in mlflow/genai/agent_server/server.py
of MLflow 3.17): `data: ` and the chunk's JSON, then at the end `data: [DONE]`. An error in the midst is
the last event, of type `error`, with the body that an error answer has; no `[DONE]` follows it. MLflow
has no type there and sends the exception's text.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.api import keys, responses
from gateway.api.body.reader import read_job
from gateway.api.errors import HttpError
from gateway.api.middleware import pipeline
from gateway.api.negotiation import parse_weights
from gateway.telemetry import logs
from workers.protocol.messages import JSON

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.domain.refs import ModelRef
    from workers.prediction_stream import PredictionStream

logger = logging.getLogger(__name__)

EVENT_STREAM: Final = "text/event-stream"
_DONE_EVENT: Final = b"data: [DONE]\n\n"
_HEADERS: Final = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # a proxy that gathers the answer would defeat it
}


def wants_stream(request: web.Request) -> bool:
    """Whether the answer is to be a stream: `?stream=` decides, without it `Accept`.

    Raises HttpError where `stream` is neither true nor false.
    """
    if request.rel_url.raw_query_string and (stream := request.query.get("stream")) is not None:
        if stream not in {"true", "false"}:
            message = "The query parameter stream is true or false."
            raise HttpError(400, "INVALID_PARAMETER_VALUE", message=message)
        return stream == "true"
    return "Accept" in request.headers and prefers_events(",".join(request.headers.getall("Accept")))


async def stream_response(request: web.Request, ref: ModelRef) -> web.StreamResponse:
    """The chunks of a prediction as they are made; what fails before the first is raised.

    A client that goes away, or takes nothing for as long as a request may last, ends the stream.
    """
    job = await read_job(request, streaming=True)
    async with request.app[keys.SERVING].stream(ref, job) as made:
        response = web.StreamResponse(headers=responses.version_headers(made.resolution, made.timing))
        response.headers.update(_HEADERS)
        response.headers["X-Request-Id"] = logs.request_id.get()
        seconds = request.app[keys.SETTINGS].value.request_timeout_seconds
        try:
            await response.prepare(request)
            async with aclosing(_encode_events(request, made.chunks)) as events:
                async for event in events:
                    async with asyncio.timeout(seconds):
                        await response.write(event)
        except ConnectionError:
            pass  # the client is gone, and aiohttp takes note of it
        except TimeoutError:
            logger.warning("a client took nothing of its stream for %g s: it is ended", seconds)
            if request.transport is not None:
                request.transport.abort()
        return response


async def _encode_events(request: web.Request, chunks: PredictionStream) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            yield b"data: %b\n\n" % chunk
    except Exception as error:  # noqa: BLE001 - the answer has begun: whatever it is can only be told within it
        settings = request.app[keys.SETTINGS].value
        problem = pipeline.to_problem(error, request, model_error_text=settings.model_error_text)
        yield b"event: error\ndata: %b\n\n" % problem.body(logs.request_id.get())
    else:
        yield _DONE_EVENT


@lru_cache(maxsize=256)
def prefers_events(accept: str) -> bool:
    """Whether an Accept header names event streams, and JSON not at all or as the lesser choice."""
    liked = dict(parse_weights(accept))
    return liked.get(EVENT_STREAM, 0.0) > liked.get(JSON, 0.0)
