"""Responses with a large answer of a model, sent piece by piece: it is never joined, or copied as a whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from gateway.api.keys import COMPONENTS
from gateway.api.middleware.response_compression import StreamCompressor, choose_compressor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from multidict import CIMultiDict

    from workers.protocol.large_body import LargeBody


class Content(NamedTuple):
    """What a response consists of, in this order."""

    start: bytes
    answer: LargeBody
    end: bytes

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.start) + len(self.answer) + len(self.end)


_CONTENT: Final = web.ResponseKey("content", Content)


def large_response(content: Content, headers: CIMultiDict[str]) -> web.StreamResponse:
    """Return a response that `send` will send."""
    response = web.StreamResponse(headers=headers)
    response[_CONTENT] = content
    return response


async def send_if_large(
    request: web.Request, response: web.StreamResponse, *, request_id: str, last: bool
) -> None:
    """Send a response of `large_response`, compressed if the client accepts that and it is worth the time.

    If it is the connection's `last`, the connection is closed. It ends early if the client disconnects. The
    memory of each piece is free once the client's connection has taken it.
    """
    if (content := response.get(_CONTENT)) is None:
        return
    memory, connection = request.app[COMPONENTS].body_memory, request.protocol
    memory.release(connection)
    memory.answering.add(connection)
    response.headers["X-Request-Id"] = request_id
    if last:
        response.force_close()
    try:
        await _send(request, response, content)
    except ConnectionError:
        pass  # the client disconnected; aiohttp ends the connection
    finally:
        memory.answering.discard(connection)
        content.answer.close()


async def _send(request: web.Request, response: web.StreamResponse, content: Content) -> None:
    compressor = await choose_compressor(request, response, sample=content.answer.peek())
    if compressor is None:
        response.content_length = content.size
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    async for part in _parts(content, compressor):
        await response.write(part)
        await asyncio.sleep(0)  # a fast client must not keep the loop for itself
    await response.write_eof()


async def _parts(content: Content, compressor: StreamCompressor | None) -> AsyncIterator[bytes | memoryview]:
    if compressor is None:
        yield content.start
        for piece in content.answer:
            yield piece
        yield content.end
        return
    yield compressor.compress(content.start)
    for piece in content.answer:
        yield await asyncio.to_thread(compressor.compress, piece)
    yield compressor.compress(content.end) + compressor.finish()
