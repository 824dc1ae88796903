"""Answers compressed where the client asks for it and it is worth it."""

from __future__ import annotations

import asyncio
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import brotli
from aiohttp import web

from gateway.api.negotiation import parse_weights
from gateway.api.zstandard import zstd
from workers.protocol.messages import PARQUET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MIN_BYTES: Final = 1400  # bytes; what is smaller travels in one packet anyway
_THREAD_MIN_BYTES: Final = 32 * 1024
_COMPRESSED_MEDIA_TYPES: Final = frozenset({PARQUET})

# Levels for speed: the answer waits for them. In the order in which they are preferred.
_COMPRESSORS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: zstd.compress(body, 3),
    "br": lambda body: brotli.compress(body, quality=3),
    "gzip": lambda body: zlib.compress(body, 1, 16 + zlib.MAX_WBITS),
    "deflate": lambda body: zlib.compress(body, 1),
}


async def compress_response(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """`response`, its body compressed where the request's Accept-Encoding names a form that is known here.

    A stream, a small answer and one that would not become smaller stay as they are.
    """
    wanted = request.headers.get("Accept-Encoding")
    if wanted is None or not isinstance(response, web.Response):
        return response
    body = response.body
    if (
        not isinstance(body, bytes)
        or len(body) < _MIN_BYTES
        or response.content_type in _COMPRESSED_MEDIA_TYPES
    ):
        return response
    if "Content-Encoding" in response.headers or request.method == "HEAD":
        return response
    response.headers.add("Vary", "Accept-Encoding")
    if (name := choose_encoding(wanted)) is None:
        return response
    write = _COMPRESSORS[name]
    packed = write(body) if len(body) < _THREAD_MIN_BYTES else await asyncio.to_thread(write, body)
    if len(packed) < len(body):
        response.body = packed
        response.headers["Content-Encoding"] = name
    return response


@lru_cache(maxsize=256)
def choose_encoding(accept_encoding: str) -> str | None:
    """The encoding that the header likes best of those that are known here; None for none of them."""
    liked = {
        name: weight for name, weight in parse_weights(accept_encoding) if name in _COMPRESSORS and weight > 0
    }
    return max(_COMPRESSORS, key=lambda name: liked.get(name, 0.0)) if liked else None
