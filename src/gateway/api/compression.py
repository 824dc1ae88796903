"""Compressed bodies made plain, never larger than allowed and never on the event loop when large.

aiohttp would do it while it parses, on the loop, and would answer an unknown encoding itself; the
application's server has that switched off.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import brotli

from gateway.api.zstandard import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_GZIP: Final = 16 + zlib.MAX_WBITS
_WORTH_A_THREAD: Final = 16 * 1024
_MOST_MEMBERS: Final = 128  # what is left is copied after each: a body of empty ones would take hours
_ZLIB_METHOD: Final = 8
# RFC 9659: over HTTP no window is larger than 8 MiB.
_WINDOW: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}


class EncodingUnknown(ValueError):
    """The encoding is none that is read here."""


class BodyBroken(ValueError):
    """The body is not of the encoding that it is said to be, or ends too early."""


class BodyTooLarge(ValueError):
    """The body is larger than allowed once it is plain."""


def known(encoding: str) -> bool:
    """Whether a Content-Encoding header names an encoding that is read here."""
    return encoding.strip().lower() in {*_READERS, "identity"}


async def plain(body: bytes, encoding: str, *, limit: int) -> bytes:
    """`body` decompressed; raises BodyBroken, BodyTooLarge, EncodingUnknown."""
    name = encoding.strip().lower()
    if name == "identity":
        return body
    read = _READERS.get(name)
    if read is None:
        raise EncodingUnknown(encoding)
    if len(body) < _WORTH_A_THREAD:
        with suppress(BodyTooLarge):  # a hundred bytes may be millions: only their beginning costs the loop
            return read(body, min(limit, _WORTH_A_THREAD))
    return await asyncio.to_thread(read, body, limit)


def _gzip(body: bytes, limit: int) -> bytes:
    """All members of a gzip body."""
    return _members(body, limit, open_stream=lambda _: zlib.decompressobj(_GZIP))


def _deflate(body: bytes, limit: int) -> bytes:
    """The one stream of a deflate body, with zlib's header or without."""
    return _members(body, limit, open_stream=lambda left: zlib.decompressobj(_deflate_bits(left)))


def _zstd(body: bytes, limit: int) -> bytes:
    """All frames of a Zstandard body."""
    return _members(body, limit, open_stream=lambda _: zstd.ZstdDecompressor(options=_WINDOW))


def _members(
    body: bytes, limit: int, *, open_stream: Callable[[bytes], zlib._Decompress | zstd.ZstdDecompressor]
) -> bytes:
    """Streams one after the other until the body ends; `open_stream` is given what is left of it."""
    parts: list[bytes] = []
    left, size = body, 0
    while left or not parts:
        stream = open_stream(left)
        try:
            part = stream.decompress(left, limit - size + 1)
        except (zlib.error, zstd.ZstdError) as error:
            raise BodyBroken("not of its encoding") from error
        size += len(part)
        if size > limit:
            raise BodyTooLarge(str(limit))
        if not stream.eof:
            raise BodyBroken("ends too early")
        parts.append(part)
        left = stream.unused_data
        if len(parts) == _MOST_MEMBERS and left:
            raise BodyBroken("too many members")
    return b"".join(parts)


def _brotli(body: bytes, limit: int) -> bytes:
    """The one stream of a Brotli body, taken in pieces: its own limit is not exact."""
    stream = brotli.Decompressor()
    parts: list[bytes] = []
    left, size = body, 0
    while not stream.is_finished():
        try:
            part = stream.process(left, output_buffer_limit=limit - size + 1)
        except brotli.error as error:
            raise BodyBroken("not of its encoding") from error
        size += len(part)
        if size > limit:
            raise BodyTooLarge(str(limit))
        if not part and not stream.is_finished():
            raise BodyBroken("ends too early")
        parts.append(part)
        left = b""
    return b"".join(parts)


def _deflate_bits(body: bytes) -> int:
    return zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == _ZLIB_METHOD else -zlib.MAX_WBITS


_READERS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
