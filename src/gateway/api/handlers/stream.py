"""Predictions as server-sent events, one for each chunk that the model yields.

The form is that of MLflow's agent server (`AgentServer._generate` in mlflow/genai/agent_server/server.py
of MLflow 3.17): `data: ` with the chunk's JSON, and `data: [DONE]` at the end. An error after the first
chunk is the last event: its type is `error`, its data is the body of an error response, and no `[DONE]`
follows. MLflow sends no type there, and the text of the exception.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, closing
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.api import responses
from gateway.api.body.reader import read_job
from gateway.api.errors import HttpError
from gateway.api.keys import COMPONENTS
from gateway.api.middleware.access_control import rate_headers
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
    "X-Accel-Buffering": "no",  # nginx must pass each chunk on at once
}


def wants_stream(request: web.Request) -> bool:
    """Return whether the client wants a stream: `?stream=` decides, and without it `Accept`.

    Raises HttpError if `stream` is neither true nor false.
    """
    if request.rel_url.raw_query_string and (stream := request.query.get("stream")) is not None:
        if stream not in {"true", "false"}:
            message = "The query parameter stream must be true or false."
            raise HttpError(400, "INVALID_PARAMETER_VALUE", message=message)
        return stream == "true"
    return "Accept" in request.headers and prefers_events(",".join(request.headers.getall("Accept")))


async def stream_response(request: web.Request, ref: ModelRef) -> web.StreamResponse:
    """Send the chunks of a prediction as the model yields them; raises any error before the first chunk.

    The stream ends early if the client disconnects, or reads nothing for the time limit of a request.
    """
    components = request.app[COMPONENTS]
    job = await read_job(request, ignore_accept=True)
    async with components.predictions.stream(ref, job) as result:
        response = web.StreamResponse(headers=responses.version_headers(result.resolution, result.timing))
        response.headers.update(_HEADERS)
        response.headers.update(rate_headers.get())
        response.headers["X-Request-Id"] = logs.request_id.get()
        seconds = components.settings.value.request_timeout_seconds
        try:
            await response.prepare(request)
            async with aclosing(_encode_events(request, result.chunks)) as events:
                async for event in events:
                    async with asyncio.timeout(seconds):
                        await response.write(event)
        except ConnectionError:
            pass  # the client disconnected; aiohttp ends the connection
        except TimeoutError:
            logger.warning(
                "A client read nothing of its stream for %g s; closing the connection",
                seconds,
                extra={"event": "stream_stalled", "seconds": seconds},
            )
            if request.transport is not None:
                request.transport.abort()
        return response


async def _encode_events(
    request: web.Request, chunks: PredictionStream
) -> AsyncGenerator[bytes | memoryview, None]:
    try:
        while (chunk := await chunks.next_body()) is not None:
            if isinstance(chunk, bytes):
                yield b"data: %b\n\n" % chunk
                continue
            answering = request.app[COMPONENTS].body_memory.answering
            answering.add(request.protocol)
            try:
                with closing(chunk):
                    yield b"data: "
                    for piece in chunk:
                        yield piece
                        await asyncio.sleep(0)  # a client that reads fast must not hold up the others
                    yield b"\n\n"
            finally:
                answering.discard(request.protocol)
    except Exception as error:  # noqa: BLE001 - the response has begun, so any error must be an event of it
        problem = request.app[COMPONENTS].error_reporter.report(error, request)
        yield b"event: error\ndata: %b\n\n" % problem.body(logs.request_id.get())
    else:
        yield _DONE_EVENT


@lru_cache(maxsize=256)
def prefers_events(accept: str) -> bool:
    """Return whether an Accept header gives event streams a higher weight than JSON."""
    weights = dict(parse_weights(accept))
    return weights.get(EVENT_STREAM, 0.0) > weights.get(JSON, 0.0)
