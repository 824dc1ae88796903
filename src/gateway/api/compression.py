"""Compressed bodies made plain, never larger than allowed and never on the event loop when large.

aiohttp would do it while it parses, on the loop, and would answer an unknown encoding itself; the
application's server has that switched off.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_GZIP: Final = 16 + zlib.MAX_WBITS
_WORTH_A_THREAD: Final = 16 * 1024
_ZLIB_METHOD: Final = 8
_ENCODINGS: Final[Mapping[str, bool]] = {"gzip": True, "x-gzip": True, "deflate": False}


class EncodingUnknown(ValueError):
    """The encoding is none that is read here."""


class BodyBroken(ValueError):
    """The body is not of the encoding that it is said to be, or ends too early."""


class BodyTooLarge(ValueError):
    """The body is larger than allowed once it is plain."""


def known(encoding: str) -> bool:
    """Whether a Content-Encoding header names an encoding that is read here."""
    return encoding.strip().lower() in {*_ENCODINGS, "identity"}


async def plain(body: bytes, encoding: str, *, limit: int) -> bytes:
    """`body` decompressed; raises BodyBroken, BodyTooLarge, EncodingUnknown."""
    name = encoding.strip().lower()
    if name == "identity":
        return body
    if name not in _ENCODINGS:
        raise EncodingUnknown(encoding)
    if len(body) < _WORTH_A_THREAD:
        return _inflated(body, is_gzip=_ENCODINGS[name], limit=limit)
    return await asyncio.to_thread(_inflated, body, is_gzip=_ENCODINGS[name], limit=limit)


def _inflated(body: bytes, *, is_gzip: bool, limit: int) -> bytes:
    """All members of a gzip body, or the one stream of a deflate body (with zlib's header or without)."""
    parts: list[bytes] = []
    left, size = body, 0
    while left or not parts:
        stream = zlib.decompressobj(_GZIP if is_gzip else _deflate_bits(left))
        try:
            part = stream.decompress(left, limit - size + 1)
        except zlib.error as error:
            raise BodyBroken("not of its encoding") from error
        size += len(part)
        if size > limit:
            raise BodyTooLarge(str(limit))
        if not stream.eof:
            raise BodyBroken("ends too early")
        parts.append(part)
        left = stream.unused_data
    return b"".join(parts)


def _deflate_bits(body: bytes) -> int:
    return zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == _ZLIB_METHOD else -zlib.MAX_WBITS
