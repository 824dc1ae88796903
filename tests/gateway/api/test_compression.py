"""Proves that compressed bodies are made plain, or refused."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import TYPE_CHECKING

import brotli
import pytest

from gateway.api import compression
from gateway.api.zstandard import zstd

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
    assert compression.known(encoding)
    assert await compression.plain(body, encoding, limit=len(PLAIN)) == PLAIN


async def test_a_large_body() -> None:
    """One that is worth a thread comes out the same."""
    large = bytes(range(256)) * 4096
    packed = gzip.compress(large, 0)
    assert await compression.plain(packed, "gzip", limit=len(large)) == large


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", gzip.compress(PLAIN)[:-1], gzip.compress(PLAIN)[:30], gzip.compress(PLAIN) + b"more"],
)
async def test_what_is_broken(body: bytes) -> None:
    """A body that is cut anywhere, or followed by something else, is not taken for whole."""
    with pytest.raises(compression.BodyBroken):
        await compression.plain(body, "gzip", limit=10_000)


async def test_the_limit_counts_what_comes_out() -> None:
    """A small body that would be large when plain is given up before it is; two halves count together."""
    half = gzip.compress(b"0" * 600)
    for body in (gzip.compress(b"0" * 50_000_000), half + half):
        with pytest.raises(compression.BodyTooLarge):
            await compression.plain(body, "gzip", limit=1000)


@pytest.mark.parametrize(("encoding", "pack"), [("br", brotli.compress), ("zstd", zstd.compress)])
async def test_the_newer_encodings(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Cut, followed by more, something else, too large: each is told apart; large ones are whole."""
    body = pack(PLAIN)
    for broken in (b"", b"nonsense", body[:-1], body[: len(body) // 2], body + b"more"):
        with pytest.raises(compression.BodyBroken):
            await compression.plain(broken, encoding, limit=10_000)
    with pytest.raises(compression.BodyTooLarge):
        await compression.plain(pack(b"0" * 50_000_000), encoding, limit=1000)
    assert await compression.plain(body, encoding, limit=len(PLAIN)) == PLAIN
    with pytest.raises(compression.BodyTooLarge):
        await compression.plain(body, encoding, limit=len(PLAIN) - 1)
    large = random.Random(1).randbytes(300_000)  # noqa: S311 - no secret is made of it
    assert await compression.plain(pack(large), encoding, limit=len(large)) == large


async def test_a_window_larger_than_http_has() -> None:
    """A zstd frame that would have its reader hold 128 MiB is refused (RFC 9659)."""
    writer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(compression.BodyBroken):
        await compression.plain(writer.compress(PLAIN) + writer.flush(), "zstd", limit=10_000)


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "", "x"])
async def test_what_is_unknown(encoding: str) -> None:
    """Anything else is named unknown."""
    assert not compression.known(encoding)
    with pytest.raises(compression.EncodingUnknown):
        await compression.plain(b"", encoding, limit=1)
