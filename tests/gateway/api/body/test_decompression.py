"""Proves that compressed bodies are decompressed, or rejected."""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
import zlib
from typing import TYPE_CHECKING, Any

import brotli
import pytest

from gateway.api.body import decompression
from gateway.api.body.decompression import zstd
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = b'{"inputs": [1, 2, 3]}' * 40


def gzipped(body: bytes) -> bytes:
    """Return the body as gzip, the same each time, because it is part of a test's name."""
    return gzip.compress(body, mtime=0)


RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(PLAIN) + RAW.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzipped(PLAIN)),
        (" GZIP ", gzipped(PLAIN)),
        ("gzip", gzipped(PLAIN[:100]) + gzipped(PLAIN[100:])),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", RAW_DEFLATE),
        ("br", brotli.compress(PLAIN)),
        ("zstd", zstd.compress(PLAIN)),
        ("zstd", zstd.compress(PLAIN[:100]) + zstd.compress(PLAIN[100:])),
        ("identity", PLAIN),
    ],
)
async def test_supported_encodings(encoding: str, body: bytes) -> None:
    """gzip and zstd with one or more members, deflate with and without zlib's header."""
    assert decompression.is_supported(encoding)
    assert await decompression.decompress(body, encoding, limit=len(PLAIN)) == PLAIN


async def test_a_large_body() -> None:
    """A body large enough for a thread comes out the same."""
    large = bytes(range(256)) * 4096
    packed = gzip.compress(large, 0, mtime=0)
    assert await decompression.decompress(packed, "gzip", limit=len(large)) == large


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", gzipped(PLAIN)[:-1], gzipped(PLAIN)[:30], gzipped(PLAIN) + b"more"],
)
async def test_corrupt_gzip(body: bytes) -> None:
    """A truncated body, and a body with other data after it, is rejected."""
    with pytest.raises(decompression.CorruptBody):
        await decompression.decompress(body, "gzip", limit=10_000)


async def test_the_limit_counts_what_comes_out() -> None:
    """A small body that expands beyond the limit is rejected in time; the members count together."""
    half = gzipped(b"0" * 600)
    for body in (gzipped(b"0" * 50_000_000), half + half):
        with pytest.raises(decompression.BodyTooLarge):
            await decompression.decompress(body, "gzip", limit=1000)


@pytest.mark.parametrize(("encoding", "pack"), [("br", brotli.compress), ("zstd", zstd.compress)])
async def test_corrupt_and_large_bodies(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Truncated, foreign and too large bodies and trailing data are rejected; large ones are complete."""
    body = pack(PLAIN)
    for broken in (b"", b"nonsense", body[:-1], body[: len(body) // 2], body + b"more"):
        with pytest.raises(decompression.CorruptBody):
            await decompression.decompress(broken, encoding, limit=10_000)
    with pytest.raises(decompression.BodyTooLarge):
        await decompression.decompress(pack(b"0" * 50_000_000), encoding, limit=1000)
    assert await decompression.decompress(body, encoding, limit=len(PLAIN)) == PLAIN
    with pytest.raises(decompression.BodyTooLarge):
        await decompression.decompress(body, encoding, limit=len(PLAIN) - 1)
    large = random.Random(1).randbytes(300_000)  # noqa: S311 - no secret is made of it
    assert await decompression.decompress(pack(large), encoding, limit=len(large)) == large


async def test_a_window_larger_than_http_has() -> None:
    """A zstd frame with a window of 128 MiB is rejected (RFC 9659)."""
    writer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(decompression.CorruptBody):
        await decompression.decompress(writer.compress(PLAIN) + writer.flush(), "zstd", limit=10_000)


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "", "x"])
async def test_unknown_encodings(encoding: str) -> None:
    """Any other name is unsupported, and so is a list of encodings."""
    assert not decompression.is_supported(encoding)
    with pytest.raises(decompression.UnsupportedEncoding):
        await decompression.decompress(b"", encoding, limit=1)


BOMBS = {"br": brotli.compress, "gzip": gzipped, "deflate": zlib.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("encoding", BOMBS)
async def test_a_small_body_that_expands(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its start is decompressed on the event loop, the rest in threads; `reserve` sees it grow."""
    size = 20 * 2**20
    body = BOMBS[encoding](b"0" * size)
    assert len(body) < size / 500
    on_loop, in_threads = 0, 0
    reserved: list[int] = []
    next_chunks = decompression._next_chunks

    def count(*args: Any, **kwargs: Any) -> tuple[list[bytes], bool]:
        nonlocal on_loop, in_threads
        chunks, finished = next_chunks(*args, **kwargs)
        if threading.current_thread() is threading.main_thread():
            on_loop += sum(map(len, chunks))
        else:
            assert threading.current_thread().name.startswith("decompression")
            in_threads += sum(map(len, chunks))
        return chunks, finished

    monkeypatch.setattr(decompression, "_next_chunks", count)
    decompressed = await decompression.decompress(body, encoding, limit=size, reserve=reserved.append)
    assert decompressed == b"0" * size
    assert on_loop <= 256 * 1024
    assert on_loop + in_threads == size
    assert reserved == sorted(reserved)
    assert len(reserved) > 5
    assert reserved[-1] == size


async def test_reserve_may_end_it() -> None:
    """An error of `reserve` is raised long before the body is decompressed."""
    reserved: list[int] = []

    def reserve(size: int) -> None:
        reserved.append(size)
        if size > 2**21:
            raise InterruptedError

    body = brotli.compress(b"0" * 50_000_000)
    with pytest.raises(InterruptedError):
        await decompression.decompress(body, "br", limit=50_000_000, reserve=reserve)
    assert reserved[-1] < 2**23


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzipped), ("zstd", zstd.compress)])
async def test_a_body_of_empty_members(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A few thousand empty members are read; a body of millions is rejected early."""
    empty = pack(b"")
    assert await decompression.decompress(empty * 5_000 + pack(PLAIN), encoding, limit=10_000) == PLAIN
    body = empty * (16 * 2**20 // len(empty))
    async with asyncio.timeout(60):
        with pytest.raises(decompression.CorruptBody):
            await decompression.decompress(body, encoding, limit=10_000)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzipped), ("zstd", zstd.compress)])
async def test_a_body_of_many_members(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A body of a thousand members of 64 KiB and an empty one, as bgzip writes it, is read."""
    block = random.Random(2).randbytes(1_000) * 65  # noqa: S311 - no secret is made of it
    body = pack(block) * 1_000 + pack(b"")
    async with asyncio.timeout(60):
        assert await decompression.decompress(body, encoding, limit=2**27) == block * 1_000


async def test_the_threads_of_decompression() -> None:
    """Two threads decompress any number of bodies, and none of the default threads does."""

    def names() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    before = names()
    body = brotli.compress(b"0" * 50_000_000)
    reading = [asyncio.create_task(decompression.decompress(body, "br", limit=50_000_000)) for _ in range(20)]
    await until(lambda: any(name.startswith("decompression") for name in names()))
    assert not all(each.done() for each in reading)
    assert all(name.startswith("decompression") for name in names() - before)
    assert 1 <= sum(name.startswith("decompression") for name in names()) <= 2
    for each in reading:
        each.cancel()
    await asyncio.wait(reading)
