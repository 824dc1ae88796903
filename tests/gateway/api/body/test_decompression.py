"""Proves that compressed bodies are made plain, or refused."""

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

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = b'{"inputs": [1, 2, 3]}' * 40
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(PLAIN) + RAW.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(PLAIN)),
        (" GZIP ", gzip.compress(PLAIN)),
        ("gzip", gzip.compress(PLAIN[:100]) + gzip.compress(PLAIN[100:])),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", RAW_DEFLATE),
        ("br", brotli.compress(PLAIN)),
        ("zstd", zstd.compress(PLAIN)),
        ("zstd", zstd.compress(PLAIN[:100]) + zstd.compress(PLAIN[100:])),
        ("identity", PLAIN),
    ],
)
async def test_what_is_read(encoding: str, body: bytes) -> None:
    """gzip in one or more members, deflate with zlib's header or without."""
    assert decompression.is_supported(encoding)
    assert await decompression.decompress(body, encoding, limit=len(PLAIN)) == PLAIN


async def test_a_large_body() -> None:
    """One that is worth a thread comes out the same."""
    large = bytes(range(256)) * 4096
    packed = gzip.compress(large, 0)
    assert await decompression.decompress(packed, "gzip", limit=len(large)) == large


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", gzip.compress(PLAIN)[:-1], gzip.compress(PLAIN)[:30], gzip.compress(PLAIN) + b"more"],
)
async def test_what_is_broken(body: bytes) -> None:
    """A body that is cut anywhere, or followed by something else, is not taken for whole."""
    with pytest.raises(decompression.CorruptBody):
        await decompression.decompress(body, "gzip", limit=10_000)


async def test_the_limit_counts_what_comes_out() -> None:
    """A small body that would be large when plain is given up before it is; two halves count together."""
    half = gzip.compress(b"0" * 600)
    for body in (gzip.compress(b"0" * 50_000_000), half + half):
        with pytest.raises(decompression.BodyTooLarge):
            await decompression.decompress(body, "gzip", limit=1000)


@pytest.mark.parametrize(("encoding", "pack"), [("br", brotli.compress), ("zstd", zstd.compress)])
async def test_the_newer_encodings(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Cut, followed by more, something else, too large: each is told apart; large ones are whole."""
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
    """A zstd frame that would have its reader hold 128 MiB is refused (RFC 9659)."""
    writer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(decompression.CorruptBody):
        await decompression.decompress(writer.compress(PLAIN) + writer.flush(), "zstd", limit=10_000)


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "", "x"])
async def test_what_is_unknown(encoding: str) -> None:
    """Anything else is named unknown."""
    assert not decompression.is_supported(encoding)
    with pytest.raises(decompression.UnsupportedEncoding):
        await decompression.decompress(b"", encoding, limit=1)


BOMBS = {"br": brotli.compress, "gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("encoding", BOMBS)
async def test_a_small_body_that_is_large_when_plain(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its beginning is read on the event loop, the rest by threads of its own; it tells how it grows."""
    size = 20 * 2**20
    body = BOMBS[encoding](b"0" * size)
    assert len(body) < size / 500
    here, there = 0, 0
    told: list[int] = []
    some = decompression._next_chunks

    def seen(*args: Any, **kwargs: Any) -> tuple[list[bytes], bool]:
        nonlocal here, there
        parts, whole = some(*args, **kwargs)
        if threading.current_thread() is threading.main_thread():
            here += sum(map(len, parts))
        else:
            assert threading.current_thread().name.startswith("decompression")
            there += sum(map(len, parts))
        return parts, whole

    monkeypatch.setattr(decompression, "_next_chunks", seen)
    plain = await decompression.decompress(body, encoding, limit=size, reserve=told.append)
    assert plain == b"0" * size
    assert here <= 256 * 1024
    assert here + there == size
    assert told == sorted(told)
    assert len(told) > 5
    assert told[-1] == size


async def test_whoever_is_told_may_end_it() -> None:
    """What it raises comes through, long before the body is plain."""
    told: list[int] = []

    def hold(size: int) -> None:
        told.append(size)
        if size > 2**21:
            raise InterruptedError

    body = brotli.compress(b"0" * 50_000_000)
    with pytest.raises(InterruptedError):
        await decompression.decompress(body, "br", limit=50_000_000, reserve=hold)
    assert told[-1] < 2**23


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
async def test_a_body_of_empty_members(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A few thousand are read, millions are given up after some of them: nobody waits hours for nothing."""
    empty = pack(b"")
    assert await decompression.decompress(empty * 5_000 + pack(PLAIN), encoding, limit=10_000) == PLAIN
    body = empty * (16 * 2**20 // len(empty))
    async with asyncio.timeout(60):
        with pytest.raises(decompression.CorruptBody):
            await decompression.decompress(body, encoding, limit=10_000)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
async def test_a_body_of_many_members(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """As bgzip writes them, 64 KiB each, a thousand of which are one body; the last one is empty."""
    block = random.Random(2).randbytes(1_000) * 65  # noqa: S311 - no secret is made of it
    body = pack(block) * 1_000 + pack(b"")
    async with asyncio.timeout(60):
        assert await decompression.decompress(body, encoding, limit=2**27) == block * 1_000


async def test_slow_bodies_take_no_thread_of_others() -> None:
    """However many are read at once, two threads do it, and none that files and names need."""

    def names() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    before = names()
    body = brotli.compress(b"0" * 50_000_000)
    reading = [asyncio.create_task(decompression.decompress(body, "br", limit=50_000_000)) for _ in range(20)]
    await asyncio.sleep(0.1)
    assert not any(each.done() for each in reading)
    assert all(name.startswith("decompression") for name in names() - before)
    assert 1 <= sum(name.startswith("decompression") for name in names()) <= 2
    for each in reading:
        each.cancel()
    await asyncio.wait(reading)
