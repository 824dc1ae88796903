"""Parquet's encodings of texts are all read, and none makes more of a body than the limit."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from mlflow.types.schema import DataType
from pandas.testing import assert_frame_equal
from pyarrow import parquet

from tests.support.codec.specs import columns, input_spec
from tests.support.codec.tabular import decode_error, model_input, parquet_file
from workers.codec import formats
from workers.codec.arrow import size_limits
from workers.errors import InvalidInput
from workers.protocol.messages import PARQUET, Job

if TYPE_CHECKING:
    from collections.abc import Iterator

DELTA = ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY")
LONG = "a" * 2**20
POOLS: list[pa.MemoryPool] = []  # kept for ever: buffers that are garbage are freed into their pool later
SCHEMA = columns((DataType.double, "a"), (DataType.string, "b"))
TABLE = pa.table({"a": [0.5, 1.5, 2.5] * 100, "b": ["user-1", None, "user-22"] * 100})


@pytest.mark.parametrize("page", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("encoding", ["PLAIN", *DELTA])
def test_encodings_of_texts(encoding: str, compression: str, page: str) -> None:
    """Each gives the same frame, also in several row groups."""
    body = parquet_file(
        TABLE,
        use_dictionary=False,
        column_encoding={"b": encoding},
        compression=compression,
        data_page_version=page,
        row_group_size=70,
    )
    for schema in (SCHEMA, None):
        assert_frame_equal(model_input(body, PARQUET, schema), TABLE.to_pandas())


@pytest.mark.parametrize("encoding", DELTA)
def test_lists_and_bytes(encoding: str) -> None:
    """Lists of texts, bytes and dictionaries beside them are read too."""
    table = pa.table({"l": [["x", "y"], [], None], "b": [b"x", None, b"y"], "d": ["p", "p", "q"]})
    paths = {"l.list.element": encoding, "b": encoding}
    body = parquet_file(table, use_dictionary=["d"], column_encoding=paths)
    actual = model_input(body, PARQUET, None)
    assert [None if row is None else list(row) for row in actual["l"]] == table["l"].to_pylist()
    assert actual["b"].tolist() == [b"x", None, b"y"]
    assert actual["d"].tolist() == ["p", "p", "q"]


def test_many_long_pages() -> None:
    """A large file that is within the limit is read in many batches."""
    table = pa.table({"b": [f"{number}-{'x' * 400}" for number in range(20_000)]})
    body = parquet_file(table, use_dictionary=False, column_encoding={"b": "DELTA_BYTE_ARRAY"})
    assert model_input(body, PARQUET, None)["b"].tolist() == table["b"].to_pylist()


@contextmanager
def _measured_pool() -> Iterator[pa.MemoryPool]:
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)


def _bomb(rows: int, encoding: str, *, lists: bool = False) -> bytes:
    """Return a file of `rows` texts of a mebibyte each, in one row group, written a few at a time."""
    cell: Any = [LONG] if lists else LONG
    batch = pa.record_batch({"b": [cell] * 8})
    sink = pa.BufferOutputStream()
    path = "b.list.element" if lists else "b"
    options: dict[str, Any] = {"use_dictionary": False, "compression": "zstd"}
    with parquet.ParquetWriter(sink, batch.schema, column_encoding={path: encoding}, **options) as writer:
        for _ in range(rows // 8):
            writer.write_batch(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("encoding", DELTA)
def test_texts_that_repeat_each_other(encoding: str, lists: bool) -> None:
    """A small file of texts that would become large is rejected, and takes little more than the limit."""
    body = _bomb(512, encoding, lists=lists)
    limit = size_limits.max_decoded_bytes(body)
    assert len(body) < 2**20
    with _measured_pool() as pool:
        error = decode_error(body, PARQUET, None)
        assert pool.max_memory() < 1.75 * limit
    assert "MiB" in str(error)


def test_lists_of_texts_that_repeat_each_other() -> None:
    """The error says what may be done: nothing tells how many texts a row has."""
    error = decode_error(_bomb(512, "DELTA_BYTE_ARRAY", lists=True), PARQUET, None)
    assert "another encoding" in str(error)


def test_a_dictionary_beside_such_a_column() -> None:
    """A long text that a dictionary repeats is limited too if the file is read without dictionaries."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 512, pa.int8()), pa.array([LONG]))
    table = pa.table({"d": texts, "b": ["x"] * 512})
    body = parquet_file(table, use_dictionary=["d"], column_encoding={"b": DELTA[0]}, store_schema=False)
    with _measured_pool() as pool:
        assert "when decoded" in str(decode_error(body, PARQUET, None))
        assert pool.max_memory() < 1.75 * size_limits.max_decoded_bytes(body)


def test_damaged_files_of_these_encodings() -> None:
    """Each is decoded or rejected, within the limit."""
    rng = random.Random(7316)  # noqa: S311 - a seeded fuzz
    bodies = [
        parquet_file(TABLE, use_dictionary=False, column_encoding={"b": encoding}, compression=compression)
        for encoding in DELTA
        for compression in ("none", "zstd")
    ]
    rejected = 0
    for number in range(400):
        body = bytearray(bodies[number % len(bodies)])
        for _ in range(rng.choice([1, 2, 4])):
            body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            formats.decode(Job(bytes(body), PARQUET), input_spec(None))
        except InvalidInput:
            rejected += 1
    assert 50 < rejected < 400
