"""What a request's headers and body must be, checked before any model is asked."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Final

from aiohttp import web

from gateway.api import keys
from gateway.api.body import decompression
from gateway.api.body.memory_limit import BODIES_REFUSED, SMALL, IntakeFull
from gateway.api.errors import HttpRefusal
from gateway.api.negotiation import ANSWERS, answer_type
from workers.protocol.messages import ARROW, CSV, PARQUET, Job

JSON: Final = "application/json"
_READ: Final = (JSON, CSV, PARQUET, ARROW)
_MOST_PARTS: Final = 1024  # a body may come in millions of them, each an object of its own


async def job_of(request: web.Request, *, events: bool = False) -> Job:
    """The body as it came, after decompression, its media type, and that of the answer.

    Raises HttpRefusal where its type or encoding is not one that is read here, where it is over the
    limit, comes too slowly or finds no room, or where the caller takes no answer that can be had; `events`
    are not asked about.
    """
    headers = request.headers
    content_type = media_type(headers.get("Content-Type"))
    accept: str | None = JSON
    if "Accept" in headers and not events:
        accept = answer_type(",".join(headers.getall("Accept")))
    if accept is None:
        message = f"Answers are {', '.join(ANSWERS)}; Accept excludes them: {_shown(headers['Accept'])}."
        raise HttpRefusal(406, "BAD_REQUEST", message=message)
    return Job(await content_of(request), content_type, accept)


async def content_of(request: web.Request) -> bytes:
    """The body as it came, after decompression; raises HttpRefusal as `job_of` does."""
    encoding = request.headers.get("Content-Encoding")
    if encoding is not None and not decompression.known(encoding):
        message = f"Content-Encoding {_shown(encoding)} is not known; gzip, deflate, br and zstd are."
        raise HttpRefusal(415, "INVALID_PARAMETER_VALUE", message=message)
    return await _body(request)


async def invite(request: web.Request) -> None:
    """Answer `Expect: 100-continue`, except where the body is known to be too large to be read."""
    too_large = (request.content_length or 0) > request.client_max_size
    if request.headers["Expect"].lower() == "100-continue" and not too_large:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def _body(request: web.Request) -> bytes:
    limit = request.client_max_size
    encoding = request.headers.get("Content-Encoding")
    try:
        if (request.content_length or 0) > limit:
            raise decompression.BodyTooLarge
        body = await _read(request, limit)
        return body if encoding is None else await _plain(request, body, encoding, limit=limit)
    except decompression.BodyTooLarge as error:
        message = f"The body is larger than {limit} bytes, which is as much as this gateway takes."
        raise HttpRefusal(413, "RESOURCE_LIMIT_EXCEEDED", message=message) from error
    except decompression.BodyBroken as error:
        message = f"The body is not what Content-Encoding {_shown(encoding or '')} says, or ends too early."
        raise HttpRefusal(400, "MALFORMED_REQUEST", message=message) from error
    except IntakeFull as error:
        message = "The gateway holds as many bytes of request bodies as it may; try again in a moment."
        raise HttpRefusal(503, "TEMPORARILY_UNAVAILABLE", message=message) from error
    except web.RequestPayloadError as error:
        raise HttpRefusal(400, "MALFORMED_REQUEST", message="The body is not whole.") from error


async def _read(request: web.Request, limit: int) -> bytes:
    """The body as it comes, put together once; raises BodyTooLarge as soon as it is, and IntakeFull."""
    content = request.content
    if content.is_eof() and content.total_bytes <= min(limit, SMALL):
        return content.read_nowait()
    request.app[keys.INTAKE].expect(request.content_length or 0)
    seconds = request.app[keys.SETTINGS].now.upload_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _gathered(request, limit)
    except TimeoutError as error:
        request.app[keys.TALLY].increment(BODIES_REFUSED, "slow")
        message = f"The body was not whole within {seconds:g} s."
        raise HttpRefusal(408, "DEADLINE_EXCEEDED", message=message) from error


async def _gathered(request: web.Request, limit: int) -> bytes:
    content, intake, connection = request.content, request.app[keys.INTAKE], request.protocol
    parts: list[bytes] = []
    size = 0
    while part := content.read_nowait() if content.is_eof() else await content.readany():
        size += len(part)
        if size > limit:
            raise decompression.BodyTooLarge
        if size > SMALL:
            intake.hold(connection, size)
        parts.append(part)
        if len(parts) == _MOST_PARTS:
            parts = [b"".join(parts)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _plain(request: web.Request, body: bytes, encoding: str, *, limit: int) -> bytes:
    """The body decompressed, which may be a thousand times as much; raises IntakeFull too."""
    intake, connection = request.app[keys.INTAKE], request.protocol

    def hold(size: int) -> None:
        if size > max(SMALL, len(body)):
            intake.hold(connection, size)

    plain = await decompression.plain(body, encoding, limit=limit, hold=hold)
    if len(plain) > SMALL:
        intake.hold(connection, len(plain))
    return plain


@lru_cache(maxsize=256)
def media_type(header: str | None) -> str:
    """The media type that a Content-Type header names, in lower case; JSON where there is none.

    Raises HttpRefusal for a type that is not read here, and for another parameter than charset=utf-8.
    """
    if not header:
        return JSON
    name, *parameters = (part.strip() for part in header.split(";"))
    kind = name.lower()
    if kind not in _READ:
        message = f"Content-Type {_shown(name)} is not read here; send {', '.join(_READ)}."
        raise HttpRefusal(415, "INVALID_PARAMETER_VALUE", message=message)
    for parameter in filter(None, parameters):
        key, _, value = parameter.partition("=")
        if key.strip().lower() != "charset" or value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            message = f"Content-Type may have no parameter but charset=utf-8, not {_shown(parameter)}."
            raise HttpRefusal(415, "INVALID_PARAMETER_VALUE", message=message)
    return kind


def _shown(text: str) -> str:
    """A header's own text, short and plain enough to be said back."""
    plain = "".join(char if char.isascii() and char.isprintable() else "?" for char in text)
    return plain if len(plain) <= 60 else f"{plain[:57]}..."
