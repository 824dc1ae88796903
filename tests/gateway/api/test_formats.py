"""Proves bodies and responses in CSV, Parquet and Arrow, and compressed ones, with the real application."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import brotli  # type: ignore[import-untyped,unused-ignore] # it has no types
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from gateway.api.body.decompression import zstd
from tests.support.gateways import BODY, Gateway
from workers.protocol.messages import ARROW, CSV, JSON, PARQUET

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABLE = pa.table({"b": [2.0, 4.0], "a": [1, 3]})
SUMS = "/model/api-sums/2/invocation"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}
UNPACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


BODIES = {JSON: BODY, CSV: b"b,a\n2.0,1\n4.0,3\n", PARQUET: _parquet(TABLE), ARROW: _arrow(TABLE)}
READERS: dict[str, Callable[[bytes], list[Any]]] = {
    JSON: lambda body: json.loads(body)["predictions"],
    CSV: lambda body: [float(line) for line in body.decode().splitlines()[1:]],
    PARQUET: lambda body: parquet.read_table(pa.BufferReader(body))["0"].to_pylist(),
    ARROW: lambda body: ipc.open_stream(body).read_all()["0"].to_pylist(),
}


async def post(gateway: Gateway, path: str, body: bytes, **headers: str) -> tuple[int, bytes, Any]:
    """Return the status, the body without decompression, and the headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.post(
        path, data=body, headers=named, skip_auto_headers=["Accept-Encoding"], auto_decompress=False
    ) as answer:
        return answer.status, await answer.read(), answer.headers


@pytest.mark.parametrize("sent", BODIES)
@pytest.mark.parametrize("accept", BODIES)
async def test_every_pair_of_formats(gateway: Gateway, sent: str, accept: str) -> None:
    """The response's format does not depend on the body's; the headers name the model version."""
    status, body, headers = await post(gateway, SUMS, BODIES[sent], Content_Type=sent, Accept=accept)
    assert status == 200, body
    assert READERS[accept](body) == [6.0, 14.0]
    assert headers["Content-Type"].partition(";")[0] == accept
    assert (headers["Model-Name"], headers["Model-Version"]) == ("api-sums", "2")


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("sent", BODIES)
async def test_compressed_bodies(gateway: Gateway, sent: str, encoding: str) -> None:
    """Every encoding works with every format; a truncated body and a bomb are rejected."""
    body = PACKERS[encoding](BODIES[sent])
    status, answer, _ = await post(gateway, SUMS, body, Content_Type=sent, Content_Encoding=encoding)
    assert (status, json.loads(answer)["predictions"]) == (200, [6.0, 14.0])
    cut, answer, _ = await post(gateway, SUMS, body[:-3], Content_Type=sent, Content_Encoding=encoding)
    assert (cut, json.loads(answer)["error_code"]) == (400, "MALFORMED_REQUEST")
    bomb = PACKERS[encoding](b" " * 20_000_000)
    status, answer, _ = await post(gateway, SUMS, bomb, Content_Type=sent, Content_Encoding=encoding)
    assert (status, json.loads(answer)["error_code"]) == (413, "RESOURCE_LIMIT_EXCEEDED")


@pytest.mark.parametrize("sent", [CSV, PARQUET, ARROW])
async def test_invalid_bodies(gateway: Gateway, sent: str) -> None:
    """The error names a wrong cell, but not its value; a body in another format is rejected."""
    table = pa.table({"a": ["a secret"], "b": [1.0]})
    body = {CSV: b"a,b\na secret,1\n", PARQUET: _parquet(table), ARROW: _arrow(table)}[sent]
    status, answer, _ = await post(gateway, SUMS, body, Content_Type=sent)
    error = json.loads(answer)
    assert (status, error["details"][0]["column"]) == (400, "a")
    assert b"secret" not in answer
    status, answer, _ = await post(gateway, SUMS, b"\xff\xfe nonsense", Content_Type=sent)
    assert (status, json.loads(answer)["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("accept", [CSV, PARQUET, ARROW])
async def test_a_prediction_that_is_no_table(gateway: Gateway, accept: str) -> None:
    """406 after the prediction, and the message names the possible format."""
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
    path = "/model/api-chat/1/invocation"
    status, answer, _ = await post(gateway, path, body, Content_Type=JSON, Accept=accept)
    error = json.loads(answer)
    assert (status, error["error_code"]) == (406, "BAD_REQUEST")
    assert "JSON is available" in error["message"]


@pytest.mark.parametrize("encoding", PACKERS)
async def test_compressed_responses(gateway: Gateway, encoding: str) -> None:
    """A large response is compressed if the client accepts it; a small one is not."""
    many = b"a,b\n" + b"1.5,2.25\n" * 20_000
    plain = await post(gateway, SUMS, many, Content_Type=CSV)
    packed = await post(gateway, SUMS, many, Content_Type=CSV, Accept_Encoding=f"x, {encoding};q=0.5")
    assert "Content-Encoding" not in plain[2]
    assert (packed[0], packed[2]["Content-Encoding"], packed[2]["Vary"]) == (200, encoding, "Accept-Encoding")
    assert len(packed[1]) < len(plain[1]) // 4
    assert json.loads(UNPACKERS[encoding](packed[1])) == json.loads(plain[1])
    small = await post(gateway, SUMS, BODY, Content_Type=JSON, Accept_Encoding=encoding)
    assert "Content-Encoding" not in small[2]
    assert "Vary" not in small[2]


@pytest.mark.parametrize(
    ("header", "chosen"),
    [("gzip, zstd", "zstd"), ("zstd;q=0, gzip", "gzip"), ("x", None), ("gzip;q=0", None)],
)
async def test_the_chosen_encoding(gateway: Gateway, header: str, chosen: str | None) -> None:
    """The highest weight wins, and the fastest of equals; the OpenAPI document is compressed too."""
    async with gateway.get(
        "/openapi.json", headers={"Accept-Encoding": header}, auto_decompress=False
    ) as answer:
        assert answer.headers.get("Content-Encoding") == chosen
        assert answer.headers["Vary"] == "Accept-Encoding"
