"""Compression of responses, if the client accepts it and it is worth the time."""

from __future__ import annotations

import asyncio
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import brotli
from aiohttp import HttpVersion11, web

from gateway.api.body.decompression import zstd
from gateway.api.negotiation import parse_weights
from workers.protocol.messages import PARQUET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MIN_BYTES: Final = 1400  # a smaller body travels in one packet anyway
_THREAD_MIN_BYTES: Final = 32 * 1024
_SAMPLE_BYTES: Final = 64 * 1024
_COMPRESSED_MEDIA_TYPES: Final = frozenset({PARQUET})

# Low levels, because the client waits. Earlier entries win ties.
_COMPRESSORS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: zstd.compress(body, 3),
    "br": lambda body: brotli.compress(body, quality=3),
    "gzip": lambda body: zlib.compress(body, 1, 16 + zlib.MAX_WBITS),
    "deflate": lambda body: zlib.compress(body, 1),
}


class StreamCompressor(NamedTuple):
    """A compressor that takes a body in pieces."""

    compress: Callable[[bytes | memoryview], bytes]
    finish: Callable[[], bytes]


def _zlib_stream(wbits: int) -> StreamCompressor:
    stream = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return StreamCompressor(stream.compress, stream.flush)


def _brotli_stream() -> StreamCompressor:
    stream = brotli.Compressor(quality=3)
    return StreamCompressor(stream.process, stream.finish)


def _zstd_stream() -> StreamCompressor:
    stream = zstd.ZstdCompressor(3)
    return StreamCompressor(stream.compress, stream.flush)


_STREAM_COMPRESSORS: Final[Mapping[str, Callable[[], StreamCompressor]]] = {
    "zstd": _zstd_stream,
    "br": _brotli_stream,
    "gzip": lambda: _zlib_stream(16 + zlib.MAX_WBITS),
    "deflate": lambda: _zlib_stream(zlib.MAX_WBITS),
}


async def compress_response(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Return `response`, compressed if the request's Accept-Encoding names an encoding known here.

    A stream, a small body, and a body that compression would not shrink stay as they are.
    """
    if "Accept-Encoding" not in request.headers or not isinstance(response, web.Response):
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
    if (encoding := choose_encoding(",".join(request.headers.getall("Accept-Encoding")))) is None:
        return response
    compress = _COMPRESSORS[encoding]
    compressed = compress(body) if len(body) < _THREAD_MIN_BYTES else await asyncio.to_thread(compress, body)
    if len(compressed) < len(body):
        response.body = compressed
        response.headers["Content-Encoding"] = encoding
    return response


async def choose_compressor(
    request: web.Request, response: web.StreamResponse, *, sample: memoryview
) -> StreamCompressor | None:
    """Return what compresses a body that begins with `sample`, and name it in the headers; or None.

    The body is sent in chunks then, which HTTP/1.0 does not have. It stays as it is if the sample shows that
    compression would not shrink it.
    """
    if "Accept-Encoding" not in request.headers or response.content_type in _COMPRESSED_MEDIA_TYPES:
        return None
    response.headers.add("Vary", "Accept-Encoding")
    encoding = choose_encoding(",".join(request.headers.getall("Accept-Encoding")))
    if encoding is None or request.version < HttpVersion11:
        return None
    sample = sample[:_SAMPLE_BYTES]
    if len(await asyncio.to_thread(_COMPRESSORS[encoding], bytes(sample))) >= len(sample):
        return None
    response.headers["Content-Encoding"] = encoding
    return _STREAM_COMPRESSORS[encoding]()


@lru_cache(maxsize=256)
def choose_encoding(accept_encoding: str) -> str | None:
    """Return the known encoding with the highest weight in the header, or None if it accepts none."""
    weights = {
        name: weight for name, weight in parse_weights(accept_encoding) if name in _COMPRESSORS and weight > 0
    }
    return max(_COMPRESSORS, key=lambda name: weights.get(name, 0.0)) if weights else None
