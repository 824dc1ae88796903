"""Decompression of request bodies, within a size limit, and in threads if they are large.

aiohttp's own decompression runs on the event loop while it parses, and answers an unknown encoding itself.
The application's server has it switched off.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

__all__ = ["BodyTooLarge", "CorruptBody", "UnsupportedEncoding", "decompress", "is_supported", "zstd"]

_GZIP: Final = 16 + zlib.MAX_WBITS
_THREAD_MIN_BYTES: Final = 16 * 1024
_CHUNK_BYTES: Final = 32 * 1024  # output of one decompressor call
_BATCH_BYTES: Final = 2**20  # output of one thread call; then another body gets the thread
_MAX_BATCH_CHUNKS: Final = 1024  # of one thread call; an empty member counts as a chunk
_FIRST_INPUT_BYTES: Final = 512  # a decompressor copies input after its end: keep that small
_MAX_INPUT_BYTES: Final = 64 * 1024
_SMALL_MEMBER_BYTES: Final = 4 * 1024
_MAX_SMALL_MEMBERS: Final = 10_000  # a small member costs more time than its content is worth
_ZLIB_METHOD: Final = 8
# RFC 9659: over HTTP no window is larger than 8 MiB.
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
# A pool of its own: slow bodies must not block file access and name lookups, which need threads too.
_EXECUTOR: Final = ThreadPoolExecutor(2, thread_name_prefix="decompression")


class UnsupportedEncoding(ValueError):
    """The gateway does not know the encoding."""


class CorruptBody(ValueError):
    """The body does not have its declared encoding, or ends too early."""


class BodyTooLarge(ValueError):
    """The decompressed body is larger than allowed."""


def is_supported(encoding: str) -> bool:
    """Return whether a Content-Encoding header names an encoding known here."""
    return encoding.strip().lower() in {*_DECOMPRESSORS, "identity"}


async def decompress(
    body: bytes, encoding: str, *, limit: int, reserve: Callable[[int], None] | None = None
) -> bytes:
    """Return `body` decompressed; raises CorruptBody, BodyTooLarge, UnsupportedEncoding.

    `reserve` is called with the number of bytes so far as they grow. An error that it raises ends the work.
    """
    name = encoding.strip().lower()
    if name == "identity":
        return body
    if name not in _DECOMPRESSORS:
        raise UnsupportedEncoding(encoding)
    loop, chunks = asyncio.get_running_loop(), _DECOMPRESSORS[name](body)
    parts: list[bytes] = []
    batch: list[bytes] = []
    size, finished = 0, False
    if len(body) < _THREAD_MIN_BYTES:  # a hundred bytes may expand to millions: only the start runs here
        batch, finished = _next_chunks(chunks, max_bytes=_THREAD_MIN_BYTES, max_chunks=8)
    while True:
        parts += batch
        size += sum(map(len, batch))
        if size > limit:
            raise BodyTooLarge(str(limit))
        if reserve is not None:
            reserve(size)
        if finished:
            break
        batch, finished = await loop.run_in_executor(_EXECUTOR, _next_chunks, chunks)
    if size < _BATCH_BYTES:
        return b"".join(parts)
    return await loop.run_in_executor(_EXECUTOR, b"".join, parts)


def _next_chunks(
    chunks: Iterator[bytes], *, max_bytes: int = _BATCH_BYTES, max_chunks: int = _MAX_BATCH_CHUNKS
) -> tuple[list[bytes], bool]:
    """Return the next chunks, about `max_bytes` in all, and whether the body ends with them."""
    batch: list[bytes] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= max_bytes or len(batch) >= max_chunks:
            return batch, False
    return batch, True


def _gzip(body: bytes) -> Iterator[bytes]:
    """Decompress all members of a gzip body."""
    return _decompress_members(body, create=lambda _: zlib.decompressobj(_GZIP))


def _deflate(body: bytes) -> Iterator[bytes]:
    """Decompress the one stream of a deflate body, with or without zlib's header."""
    return _decompress_members(body, create=lambda first_byte: zlib.decompressobj(_deflate_wbits(first_byte)))


def _zstd(body: bytes) -> Iterator[bytes]:
    """Decompress all frames of a Zstandard body."""
    return _decompress_members(body, create=lambda _: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS))


def _decompress_members(
    body: bytes, *, create: Callable[[bytes], zlib._Decompress | zstd.ZstdDecompressor]
) -> Iterator[bytes]:
    """Decompress one member after the other; `create` makes a decompressor from a member's first byte."""
    start = small_members = 0
    while start < len(body) or not start:
        size, start = yield from _decompress_member(create(body[start : start + 1]), body, start=start)
        small_members += size < _SMALL_MEMBER_BYTES
        if small_members > _MAX_SMALL_MEMBERS:
            raise CorruptBody("too many members")
        yield b""


def _decompress_member(
    stream: zlib._Decompress | zstd.ZstdDecompressor, body: bytes, *, start: int
) -> Generator[bytes, None, tuple[int, int]]:
    """Decompress the member that begins at `start`; return its decompressed size and its end in `body`."""
    position, input_bytes, size, pending = start, _FIRST_INPUT_BYTES, 0, b""
    while not stream.eof:
        needs_input = not pending if not isinstance(stream, zstd.ZstdDecompressor) else stream.needs_input
        if needs_input:
            pending = body[position : position + input_bytes]
            position, input_bytes = position + len(pending), min(2 * input_bytes, _MAX_INPUT_BYTES)
        try:
            chunk = stream.decompress(pending, _CHUNK_BYTES)
        except (zlib.error, zstd.ZstdError) as error:
            raise CorruptBody("not of its encoding") from error
        if needs_input and not (pending or chunk or stream.eof):
            raise CorruptBody("ends too early")
        pending = b"" if isinstance(stream, zstd.ZstdDecompressor) else stream.unconsumed_tail
        size += len(chunk)
        yield chunk
    return size, position - len(stream.unused_data)


def _brotli(body: bytes) -> Iterator[bytes]:
    """Decompress the one stream of a Brotli body."""
    stream = brotli.Decompressor()
    position = 0
    while not stream.is_finished():
        pending = body[position : position + _MAX_INPUT_BYTES] if stream.can_accept_more_data() else b""
        position += len(pending)
        try:
            chunk = stream.process(pending, output_buffer_limit=_CHUNK_BYTES)
        except brotli.error as error:
            raise CorruptBody("not of its encoding") from error
        if not (pending or chunk or stream.is_finished()):
            raise CorruptBody("ends too early")
        yield chunk
    if position < len(body):
        raise CorruptBody("is followed by something else")


def _deflate_wbits(first_byte: bytes) -> int:
    has_header = bool(first_byte) and first_byte[0] & 0x0F == _ZLIB_METHOD
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


_DECOMPRESSORS: Final[Mapping[str, Callable[[bytes], Iterator[bytes]]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
