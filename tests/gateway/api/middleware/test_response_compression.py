"""Proves which responses are compressed, and how the encoding is chosen."""

from __future__ import annotations

import gzip

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.api.middleware.response_compression import choose_encoding, compress_response
from workers.protocol.messages import PARQUET

LARGE = b"text" * 1000


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("gzip, zstd", "zstd"),
        ("gzip, br;q=0.5", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x", None),
        ("gzip;q=0", None),
        ("", None),
    ],
)
def test_the_choice(header: str, chosen: str | None) -> None:
    """The highest weight wins, the fastest encoding among equals; a weight of 0 excludes an encoding."""
    assert choose_encoding(header) == chosen


async def test_a_large_body() -> None:
    """It is compressed, and caches learn that the response depends on Accept-Encoding."""
    request = make_mocked_request("GET", "/", headers={"Accept-Encoding": "gzip"})
    response = await compress_response(request, web.Response(body=LARGE))
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    assert gzip.decompress(response.body) == LARGE
    assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("gzip", "Accept-Encoding")


@pytest.mark.parametrize(
    ("method", "response"),
    [
        ("GET", web.Response(body=b"small")),
        ("HEAD", web.Response(body=LARGE)),
        ("GET", web.Response(body=LARGE, content_type=PARQUET)),
        ("GET", web.Response(body=LARGE, headers={"Content-Encoding": "x"})),
        ("GET", web.StreamResponse()),
    ],
    ids=["small", "HEAD", "compressed type", "compressed already", "stream"],
)
async def test_what_stays_as_it_is(method: str, response: web.StreamResponse) -> None:
    """Compression would gain nothing, or is done already."""
    request = make_mocked_request(method, "/", headers={"Accept-Encoding": "gzip"})
    before = dict(response.headers)
    assert await compress_response(request, response) is response
    assert dict(response.headers) == before
