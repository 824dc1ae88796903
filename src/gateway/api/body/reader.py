"""Reading and checking of request headers and bodies, before any model runs."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Final

from aiohttp import HttpVersion11, web

from gateway.api.body import decompression
from gateway.api.body.memory_limit import BODIES_REJECTED, UNCOUNTED_BYTES, BodyMemoryExceeded
from gateway.api.errors import HttpError
from gateway.api.keys import COMPONENTS
from gateway.api.negotiation import RESPONSE_MEDIA_TYPES, negotiate_media_type
from gateway.auth.principal import current_principal
from workers.protocol.messages import CONTENT_TYPES, DEFAULT_DETAILS, MAX_DETAILS, Job

JSON: Final = "application/json"
_REQUEST_MEDIA_TYPES: Final = tuple(CONTENT_TYPES)
_MAX_CHUNKS: Final = 1024  # of a body, which may arrive in millions of small objects


async def read_job(request: web.Request, *, ignore_accept: bool = False) -> Job:
    """Return the decompressed body, its media type, and the media type of the response.

    Raises HttpError if the body's type or encoding is not supported, if it is too large, arrives too slowly
    or does not fit into memory, if Accept excludes every response, or if the query parameter `details` is
    wrong. `ignore_accept` makes the response JSON.
    """
    headers = request.headers
    content_type = parse_content_type(headers.get("Content-Type"))
    accept: str | None = JSON
    if "Accept" in headers and not ignore_accept:
        accept = negotiate_media_type(",".join(headers.getall("Accept")))
    if accept is None:
        types, header = ", ".join(RESPONSE_MEDIA_TYPES), _sanitize_header(headers["Accept"])
        message = f"The Accept header {header} excludes every media type of the response: {types}."
        raise HttpError(406, "BAD_REQUEST", message=message)
    max_details = _max_details(request) if request.rel_url.raw_query_string else DEFAULT_DETAILS
    return Job(await read_body(request), content_type, accept, max_details=max_details)


def _max_details(request: web.Request) -> int:
    """Return how many invalid cells a refusal names, by `?details=`. Raises HttpError for a wrong number."""
    text = request.query.get("details")
    if text is None:
        return DEFAULT_DETAILS
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_DETAILS:
        return int(text)
    message = f"The query parameter details must be a whole number from 1 to {MAX_DETAILS}."
    raise HttpError(400, "INVALID_PARAMETER_VALUE", message=message)


async def read_body(request: web.Request) -> bytes:
    """Return the decompressed body; raises HttpError as `read_job` does."""
    encoding = _content_encoding(request)
    if encoding is not None and not decompression.is_supported(encoding):
        name = _sanitize_header(encoding)
        message = f"The Content-Encoding {name} is not supported; use gzip, deflate, br or zstd."
        raise HttpError(415, "INVALID_PARAMETER_VALUE", message=message)
    return await _read_decoded(request, encoding)


async def handle_expect_continue(_: web.Request) -> None:
    """Leave `Expect: 100-continue` to `read_body`: this is called before it is known who is asking."""


async def _ask_for_body(request: web.Request) -> None:
    """Tell a client that waits with its body, because it sent `Expect: 100-continue`, to send it."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # aiohttp must not take this for the start of the response


def _content_encoding(request: web.Request) -> str | None:
    """Return the encodings of all Content-Encoding headers that change the body; None if none does."""
    if "Content-Encoding" not in request.headers:
        return None
    names = [name.strip() for name in ",".join(request.headers.getall("Content-Encoding")).split(",")]
    return ", ".join(name for name in names if name and name.lower() != "identity") or None


def _max_body_bytes(request: web.Request) -> int:
    """Return the limit of the gateway, or of the request's principal if that is lower."""
    own = current_principal.get().limits.max_body_bytes
    return request.client_max_size if own is None else min(own, request.client_max_size)


async def _read_decoded(request: web.Request, encoding: str | None) -> bytes:
    limit = _max_body_bytes(request)
    try:
        if (request.content_length or 0) > limit:
            raise decompression.BodyTooLarge
        body = await _read_raw(request, limit)
        return body if encoding is None else await _decompress(request, body, encoding, limit=limit)
    except decompression.BodyTooLarge as error:
        whose = "" if limit == request.client_max_size else " for this caller"
        message = f"The body is larger than the limit of {limit} bytes{whose}."
        raise HttpError(413, "RESOURCE_LIMIT_EXCEEDED", message=message) from error
    except decompression.CorruptBody as error:
        name = _sanitize_header(encoding or "")
        message = f"The body is not valid for Content-Encoding {name}, or ends too early."
        raise HttpError(400, "MALFORMED_REQUEST", message=message) from error
    except BodyMemoryExceeded as error:
        message = "The gateway's memory for request bodies is used up; try again in a moment."
        raise HttpError(503, "TEMPORARILY_UNAVAILABLE", message=message) from error
    except web.RequestPayloadError as error:
        raise HttpError(400, "MALFORMED_REQUEST", message="The body is incomplete.") from error


async def _read_raw(request: web.Request, limit: int) -> bytes:
    """Return the body as the client sent it; raises BodyTooLarge and BodyMemoryExceeded at once."""
    content, components = request.content, request.app[COMPONENTS]
    if content.is_eof() and content.total_bytes <= min(limit, UNCOUNTED_BYTES):
        return content.read_nowait()
    components.body_memory.check(request.content_length or 0)
    await _ask_for_body(request)
    seconds = components.settings.value.upload_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _read_chunks(request, limit)
    except TimeoutError as error:
        components.counters.increment(BODIES_REJECTED, "timeout")
        message = f"The body did not arrive within {seconds:g} s."
        raise HttpError(408, "DEADLINE_EXCEEDED", message=message) from error


async def _read_chunks(request: web.Request, limit: int) -> bytes:
    content, connection = request.content, request.protocol
    body_memory = request.app[COMPONENTS].body_memory
    parts: list[bytes] = []
    size = 0
    while part := content.read_nowait() if content.is_eof() else await content.readany():
        size += len(part)
        if size > limit:
            raise decompression.BodyTooLarge
        if size > UNCOUNTED_BYTES:
            body_memory.reserve(connection, size)
        parts.append(part)
        if len(parts) == _MAX_CHUNKS:
            parts = [b"".join(parts)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _decompress(request: web.Request, body: bytes, encoding: str, *, limit: int) -> bytes:
    """Return the body decompressed, which may be a thousand times larger; raises BodyMemoryExceeded too."""
    body_memory, connection = request.app[COMPONENTS].body_memory, request.protocol

    def reserve(size: int) -> None:
        if size > max(UNCOUNTED_BYTES, len(body)):
            body_memory.reserve(connection, size)

    decompressed = await decompression.decompress(body, encoding, limit=limit, reserve=reserve)
    if len(decompressed) > UNCOUNTED_BYTES:
        body_memory.reserve(connection, len(decompressed))
    return decompressed


@lru_cache(maxsize=256)
def parse_content_type(header: str | None) -> str:
    """Return the media type of a Content-Type header in lower case, or JSON if there is no header.

    Raises HttpError for an unsupported media type, and for any parameter except charset=utf-8.
    """
    if not header:
        return JSON
    name, *parameters = (part.strip() for part in header.split(";"))
    media_type = name.lower()
    if media_type not in _REQUEST_MEDIA_TYPES:
        types = ", ".join(_REQUEST_MEDIA_TYPES)
        message = f"The Content-Type {_sanitize_header(name)} is not supported; send {types}."
        raise HttpError(415, "INVALID_PARAMETER_VALUE", message=message)
    for parameter in filter(None, parameters):
        key, _, value = parameter.partition("=")
        if key.strip().lower() != "charset" or value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            message = (
                f"The only parameter of Content-Type is charset=utf-8, not {_sanitize_header(parameter)}."
            )
            raise HttpError(415, "INVALID_PARAMETER_VALUE", message=message)
    return media_type


def _sanitize_header(text: str) -> str:
    """Return at most 60 printable ASCII characters of a header, for use in a message."""
    printable = "".join(char if char.isascii() and char.isprintable() else "?" for char in text)
    return printable if len(printable) <= 60 else f"{printable[:57]}..."
