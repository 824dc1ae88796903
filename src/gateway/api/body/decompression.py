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
_WORTH_A_THREAD: Final = 16 * 1024
_PIECE: Final = 32 * 1024  # made plain by one call
_TURN: Final = 2**20  # made plain before it is another body's turn, so that a large one holds up nobody
_MOST_PIECES: Final = 1024  # in one turn; a member without content is one too
_FIRST_FEED: Final = 512  # what a stream leaves is copied: of a short one that must not be much
_LARGEST_FEED: Final = 64 * 1024
_SMALL_MEMBER: Final = 4 * 1024
_MOST_SMALL: Final = 10_000  # members that cost more than they hold
_ZLIB_METHOD: Final = 8
# RFC 9659: over HTTP no window is larger than 8 MiB.
_WINDOW: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
# Their own, so that bodies made to take long keep nobody from files and names, which need threads too.
_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="decompression")


class EncodingUnknown(ValueError):
    """The encoding is none that is read here."""


class BodyBroken(ValueError):
    """The body is not of the encoding that it is said to be, or ends too early."""


class BodyTooLarge(ValueError):
    """The body is larger than allowed once it is plain."""


def known(encoding: str) -> bool:
    """Whether a Content-Encoding header names an encoding that is read here."""
    return encoding.strip().lower() in {*_READERS, "identity"}


async def plain(
    body: bytes, encoding: str, *, limit: int, hold: Callable[[int], None] | None = None
) -> bytes:
    """`body` decompressed; raises BodyBroken, BodyTooLarge, EncodingUnknown.

    `hold` is told of how many bytes there are, as they become more; what it raises ends the work.
    """
    name = encoding.strip().lower()
    if name == "identity":
        return body
    if name not in _READERS:
        raise EncodingUnknown(encoding)
    loop, pieces = asyncio.get_running_loop(), _READERS[name](body)
    parts: list[bytes] = []
    more: list[bytes] = []
    size, whole = 0, False
    if len(body) < _WORTH_A_THREAD:  # a hundred bytes may become millions: only the beginning costs the loop
        more, whole = _some(pieces, most=_WORTH_A_THREAD, count=8)
    while True:
        parts += more
        size += sum(map(len, more))
        if size > limit:
            raise BodyTooLarge(str(limit))
        if hold is not None:
            hold(size)
        if whole:
            break
        more, whole = await loop.run_in_executor(_THREADS, _some, pieces)
    if size < _TURN:
        return b"".join(parts)
    return await loop.run_in_executor(_THREADS, b"".join, parts)


def _some(pieces: Iterator[bytes], most: int = _TURN, count: int = _MOST_PIECES) -> tuple[list[bytes], bool]:
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
    return _members(body, open_stream=lambda _: zlib.decompressobj(_GZIP))


def _deflate(body: bytes) -> Iterator[bytes]:
    """The one stream of a deflate body, with zlib's header or without."""
    return _members(body, open_stream=lambda first: zlib.decompressobj(_deflate_bits(first)))


def _zstd(body: bytes) -> Iterator[bytes]:
    """All frames of a Zstandard body."""
    return _members(body, open_stream=lambda _: zstd.ZstdDecompressor(options=_WINDOW))


def _members(
    body: bytes, *, open_stream: Callable[[bytes], zlib._Decompress | zstd.ZstdDecompressor]
) -> Iterator[bytes]:
    """Streams one after the other until the body ends; `open_stream` is given the first byte of each."""
    at = small = 0
    while at < len(body) or not at:
        size, at = yield from _member(open_stream(body[at : at + 1]), body, at)
        small += size < _SMALL_MEMBER
        if small > _MOST_SMALL:
            raise BodyBroken("too many members")
        yield b""


def _member(
    stream: zlib._Decompress | zstd.ZstdDecompressor, body: bytes, at: int
) -> Generator[bytes, None, tuple[int, int]]:
    """The stream that begins at `at`; returns its size when plain, and where it ends."""
    size, feed, left = 0, _FIRST_FEED, b""
    while not stream.eof:
        hungry = not left if not isinstance(stream, zstd.ZstdDecompressor) else stream.needs_input
        if hungry:
            left = body[at : at + feed]
            at, feed = at + len(left), min(2 * feed, _LARGEST_FEED)
        try:
            piece = stream.decompress(left, _PIECE)
        except (zlib.error, zstd.ZstdError) as error:
            raise BodyBroken("not of its encoding") from error
        if hungry and not (left or piece or stream.eof):
            raise BodyBroken("ends too early")
        left = b"" if isinstance(stream, zstd.ZstdDecompressor) else stream.unconsumed_tail
        size += len(piece)
        yield piece
    return size, at - len(stream.unused_data)


def _brotli(body: bytes) -> Iterator[bytes]:
    """The one stream of a Brotli body."""
    stream = brotli.Decompressor()
    at = 0
    while not stream.is_finished():
        left = body[at : at + _LARGEST_FEED] if stream.can_accept_more_data() else b""
        at += len(left)
        try:
            piece = stream.process(left, output_buffer_limit=_PIECE)
        except brotli.error as error:
            raise BodyBroken("not of its encoding") from error
        if not (left or piece or stream.is_finished()):
            raise BodyBroken("ends too early")
        yield piece
    if at < len(body):
        raise BodyBroken("is followed by something else")


def _deflate_bits(body: bytes) -> int:
    return zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == _ZLIB_METHOD else -zlib.MAX_WBITS


_READERS: Final[Mapping[str, Callable[[bytes], Iterator[bytes]]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
