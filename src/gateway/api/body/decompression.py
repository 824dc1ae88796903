"""Compressed bodies made plain, never larger than allowed and never on the event loop when large.

aiohttp would do it while it parses, on the loop, and would answer an unknown encoding itself; the
application's server has that switched off.
"""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import brotli

from gateway.api.zstandard import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

_GZIP: Final = 16 + zlib.MAX_WBITS
_THREAD_MIN_BYTES: Final = 16 * 1024
_CHUNK_BYTES: Final = 32 * 1024  # made plain by one call
_BATCH_BYTES: Final = (
    2**20
)  # made plain before it is another body's turn, so that a large one holds up nobody
_MAX_BATCH_CHUNKS: Final = 1024  # in one turn; a member without content is one too
_FIRST_INPUT_BYTES: Final = 512  # what a stream leaves is copied: of a short one that must not be much
_MAX_INPUT_BYTES: Final = 64 * 1024
_SMALL_MEMBER_BYTES: Final = 4 * 1024
_MAX_SMALL_MEMBERS: Final = 10_000  # members that cost more than they hold
_ZLIB_METHOD: Final = 8
# RFC 9659: over HTTP no window is larger than 8 MiB.
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
# Their own, so that bodies made to take long keep nobody from files and names, which need threads too.
_EXECUTOR: Final = ThreadPoolExecutor(2, thread_name_prefix="decompression")


class UnsupportedEncoding(ValueError):
    """The encoding is none that is read here."""


class CorruptBody(ValueError):
    """The body is not of the encoding that it is said to be, or ends too early."""


class BodyTooLarge(ValueError):
    """The body is larger than allowed once it is plain."""


def is_supported(encoding: str) -> bool:
    """Whether a Content-Encoding header names an encoding that is read here."""
    return encoding.strip().lower() in {*_DECOMPRESSORS, "identity"}


async def decompress(
    body: bytes, encoding: str, *, limit: int, reserve: Callable[[int], None] | None = None
) -> bytes:
    """`body` decompressed; raises BodyBroken, BodyTooLarge, EncodingUnknown.

    `hold` is told of how many bytes there are, as they become more; what it raises ends the work.
    """
    name = encoding.strip().lower()
    if name == "identity":
        return body
    if name not in _DECOMPRESSORS:
        raise UnsupportedEncoding(encoding)
    loop, pieces = asyncio.get_running_loop(), _DECOMPRESSORS[name](body)
    parts: list[bytes] = []
    more: list[bytes] = []
    size, whole = 0, False
    if (
        len(body) < _THREAD_MIN_BYTES
    ):  # a hundred bytes may become millions: only the beginning costs the loop
        more, whole = _next_chunks(pieces, most=_THREAD_MIN_BYTES, count=8)
    while True:
        parts += more
        size += sum(map(len, more))
        if size > limit:
            raise BodyTooLarge(str(limit))
        if reserve is not None:
            reserve(size)
        if whole:
            break
        more, whole = await loop.run_in_executor(_EXECUTOR, _next_chunks, pieces)
    if size < _BATCH_BYTES:
        return b"".join(parts)
    return await loop.run_in_executor(_EXECUTOR, b"".join, parts)


def _next_chunks(
    pieces: Iterator[bytes], most: int = _BATCH_BYTES, count: int = _MAX_BATCH_CHUNKS
) -> tuple[list[bytes], bool]:
    """The next pieces, about `most` bytes and `count` pieces at most, and whether they were the last."""
    found: list[bytes] = []
    size = 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size >= most or len(found) >= count:
            return found, False
    return found, True


def _gzip(body: bytes) -> Iterator[bytes]:
    """All members of a gzip body."""
    return _decompress_members(body, open_stream=lambda _: zlib.decompressobj(_GZIP))


def _deflate(body: bytes) -> Iterator[bytes]:
    """The one stream of a deflate body, with zlib's header or without."""
    return _decompress_members(body, open_stream=lambda first: zlib.decompressobj(_deflate_wbits(first)))


def _zstd(body: bytes) -> Iterator[bytes]:
    """All frames of a Zstandard body."""
    return _decompress_members(body, open_stream=lambda _: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS))


def _decompress_members(
    body: bytes, *, open_stream: Callable[[bytes], zlib._Decompress | zstd.ZstdDecompressor]
) -> Iterator[bytes]:
    """Streams one after the other until the body ends; `open_stream` is given the first byte of each."""
    at = small = 0
    while at < len(body) or not at:
        size, at = yield from _decompress_member(open_stream(body[at : at + 1]), body, at)
        small += size < _SMALL_MEMBER_BYTES
        if small > _MAX_SMALL_MEMBERS:
            raise CorruptBody("too many members")
        yield b""


def _decompress_member(
    stream: zlib._Decompress | zstd.ZstdDecompressor, body: bytes, at: int
) -> Generator[bytes, None, tuple[int, int]]:
    """The stream that begins at `at`; returns its size when plain, and where it ends."""
    size, feed, left = 0, _FIRST_INPUT_BYTES, b""
    while not stream.eof:
        hungry = not left if not isinstance(stream, zstd.ZstdDecompressor) else stream.needs_input
        if hungry:
            left = body[at : at + feed]
            at, feed = at + len(left), min(2 * feed, _MAX_INPUT_BYTES)
        try:
            piece = stream.decompress(left, _CHUNK_BYTES)
        except (zlib.error, zstd.ZstdError) as error:
            raise CorruptBody("not of its encoding") from error
        if hungry and not (left or piece or stream.eof):
            raise CorruptBody("ends too early")
        left = b"" if isinstance(stream, zstd.ZstdDecompressor) else stream.unconsumed_tail
        size += len(piece)
        yield piece
    return size, at - len(stream.unused_data)


def _brotli(body: bytes) -> Iterator[bytes]:
    """The one stream of a Brotli body."""
    stream = brotli.Decompressor()
    at = 0
    while not stream.is_finished():
        left = body[at : at + _MAX_INPUT_BYTES] if stream.can_accept_more_data() else b""
        at += len(left)
        try:
            piece = stream.process(left, output_buffer_limit=_CHUNK_BYTES)
        except brotli.error as error:
            raise CorruptBody("not of its encoding") from error
        if not (left or piece or stream.is_finished()):
            raise CorruptBody("ends too early")
        yield piece
    if at < len(body):
        raise CorruptBody("is followed by something else")


def _deflate_wbits(body: bytes) -> int:
    return zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == _ZLIB_METHOD else -zlib.MAX_WBITS


_DECOMPRESSORS: Final[Mapping[str, Callable[[bytes], Iterator[bytes]]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
