"""What a request's headers and body must be, checked before any model is asked."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Final

from aiohttp import web

from gateway.api import keys
from gateway.api.body import decompression
from gateway.api.body.memory_limit import BODIES_REJECTED, UNCOUNTED_BYTES, BodyMemoryExceeded
from gateway.api.errors import HttpError
from gateway.api.negotiation import RESPONSE_MEDIA_TYPES, negotiate_media_type
from workers.protocol.messages import CONTENT_TYPES, Job

JSON: Final = "application/json"
_REQUEST_MEDIA_TYPES: Final = tuple(CONTENT_TYPES)
_MAX_CHUNKS: Final = 1024  # a body may come in millions of them, each an object of its own


async def read_job(request: web.Request, *, streaming: bool = False) -> Job:
    """The body as it came, after decompression, its media type, and that of the answer.

    Raises HttpError where its type or encoding is not one that is read here, where it is over the
    limit, comes too slowly or finds no room, or where the caller takes no answer that can be had; `events`
    are not asked about.
    """
    headers = request.headers
    content_type = parse_content_type(headers.get("Content-Type"))
    accept: str | None = JSON
    if "Accept" in headers and not streaming:
        accept = negotiate_media_type(",".join(headers.getall("Accept")))
    if accept is None:
        message = f"Answers are {', '.join(RESPONSE_MEDIA_TYPES)}; Accept excludes them: {_sanitize_header(headers['Accept'])}."
        raise HttpError(406, "BAD_REQUEST", message=message)
    return Job(await read_body(request), content_type, accept)


async def read_body(request: web.Request) -> bytes:
    """The body as it came, after decompression; raises HttpError as `job_of` does."""
    encoding = request.headers.get("Content-Encoding")
    if encoding is not None and not decompression.is_supported(encoding):
        message = (
            f"Content-Encoding {_sanitize_header(encoding)} is not known; gzip, deflate, br and zstd are."
        )
        raise HttpError(415, "INVALID_PARAMETER_VALUE", message=message)
    return await _read_decoded(request)


async def handle_expect_continue(request: web.Request) -> None:
    """Answer `Expect: 100-continue`, except where the body is known to be too large to be read."""
    too_large = (request.content_length or 0) > request.client_max_size
    if request.headers["Expect"].lower() == "100-continue" and not too_large:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def _read_decoded(request: web.Request) -> bytes:
    limit = request.client_max_size
    encoding = request.headers.get("Content-Encoding")
    try:
        if (request.content_length or 0) > limit:
            raise decompression.BodyTooLarge
        body = await _read_raw(request, limit)
        return body if encoding is None else await _decompress(request, body, encoding, limit=limit)
    except decompression.BodyTooLarge as error:
        message = f"The body is larger than {limit} bytes, which is as much as this gateway takes."
        raise HttpError(413, "RESOURCE_LIMIT_EXCEEDED", message=message) from error
    except decompression.CorruptBody as error:
        message = f"The body is not what Content-Encoding {_sanitize_header(encoding or '')} says, or ends too early."
        raise HttpError(400, "MALFORMED_REQUEST", message=message) from error
    except BodyMemoryExceeded as error:
        message = "The gateway holds as many bytes of request bodies as it may; try again in a moment."
        raise HttpError(503, "TEMPORARILY_UNAVAILABLE", message=message) from error
    except web.RequestPayloadError as error:
        raise HttpError(400, "MALFORMED_REQUEST", message="The body is not whole.") from error


async def _read_raw(request: web.Request, limit: int) -> bytes:
    """The body as it comes, put together once; raises BodyTooLarge as soon as it is, and BodyMemoryExceeded."""
    content = request.content
    if content.is_eof() and content.total_bytes <= min(limit, UNCOUNTED_BYTES):
        return content.read_nowait()
    request.app[keys.INTAKE].check(request.content_length or 0)
    seconds = request.app[keys.SETTINGS].value.upload_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _read_chunks(request, limit)
    except TimeoutError as error:
        request.app[keys.TALLY].increment(BODIES_REJECTED, "slow")
        message = f"The body was not whole within {seconds:g} s."
        raise HttpError(408, "DEADLINE_EXCEEDED", message=message) from error


async def _read_chunks(request: web.Request, limit: int) -> bytes:
    content, intake, connection = request.content, request.app[keys.INTAKE], request.protocol
    parts: list[bytes] = []
    size = 0
    while part := content.read_nowait() if content.is_eof() else await content.readany():
        size += len(part)
        if size > limit:
            raise decompression.BodyTooLarge
        if size > UNCOUNTED_BYTES:
            intake.reserve(connection, size)
        parts.append(part)
        if len(parts) == _MAX_CHUNKS:
            parts = [b"".join(parts)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _decompress(request: web.Request, body: bytes, encoding: str, *, limit: int) -> bytes:
    """The body decompressed, which may be a thousand times as much; raises BodyMemoryExceeded too."""
    intake, connection = request.app[keys.INTAKE], request.protocol

    def hold(size: int) -> None:
        if size > max(UNCOUNTED_BYTES, len(body)):
            intake.reserve(connection, size)

    plain = await decompression.decompress(body, encoding, limit=limit, reserve=hold)
    if len(plain) > UNCOUNTED_BYTES:
        intake.reserve(connection, len(plain))
    return plain


@lru_cache(maxsize=256)
def parse_content_type(header: str | None) -> str:
    """The media type that a Content-Type header names, in lower case; JSON where there is none.

    Raises HttpError for a type that is not read here, and for another parameter than charset=utf-8.
    """
    if not header:
        return JSON
    name, *parameters = (part.strip() for part in header.split(";"))
    kind = name.lower()
    if kind not in _REQUEST_MEDIA_TYPES:
        message = (
            f"Content-Type {_sanitize_header(name)} is not read here; send {', '.join(_REQUEST_MEDIA_TYPES)}."
        )
        raise HttpError(415, "INVALID_PARAMETER_VALUE", message=message)
    for parameter in filter(None, parameters):
        key, _, value = parameter.partition("=")
        if key.strip().lower() != "charset" or value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            message = (
                f"Content-Type may have no parameter but charset=utf-8, not {_sanitize_header(parameter)}."
            )
            raise HttpError(415, "INVALID_PARAMETER_VALUE", message=message)
    return kind


def _sanitize_header(text: str) -> str:
    """A header's own text, short and plain enough to be said back."""
    plain = "".join(char if char.isascii() and char.isprintable() else "?" for char in text)
    return plain if len(plain) <= 60 else f"{plain[:57]}..."
