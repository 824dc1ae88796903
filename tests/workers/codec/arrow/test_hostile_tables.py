"""Damaged and hostile CSV, Parquet and Arrow bodies are decoded or rejected, within limits of memory."""

from __future__ import annotations

import datetime
import random
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from mlflow.types.schema import AnyType, Array, DataType, Map, Object, Property, Schema, TensorSpec

from tests.support.codec.specs import MIXED, SENTINEL, column, columns, input_spec
from tests.support.codec.tabular import arrow_stream, csv_text, decode_error, parquet_file
from workers.codec import formats
from workers.codec.arrow import size_limits
from workers.errors import InvalidInput
from workers.protocol.messages import ARROW, CSV, PARQUET, Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.codec.signature import InputSpec

ROUNDS = 2_000
DOUBLE = column(DataType.double)
NOON = datetime.datetime(2024, 1, 2, 12, tzinfo=datetime.UTC)
COLUMNS: dict[str, pa.Array] = {
    "count": pa.array([1, 2, 3]),
    "size": pa.array([1.5, None, float("nan")]),
    "name": pa.array(["a", None, SENTINEL]),
    "open": pa.array([True, False, None]),
    "since": pa.array([NOON, None, NOON], pa.timestamp("us", "Europe/Berlin")),
    "x": pa.array([[1.0, 2.0], [], [3.0]]),
    "y": pa.array([{"k": [NOON]}, None, {"k": []}]),
    "m": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    "d": pa.array([SENTINEL, "b", SENTINEL]).dictionary_encode(),
    "b": pa.array([b"\0\xff", None, b""]),
    "n": pa.nulls(3),
}
SCHEMAS: list[Schema | None] = [
    None,
    MIXED,
    DOUBLE,
    column(AnyType()),
    column(Array(DataType.double)),
    columns((DataType.long, "count"), (DataType.string, "d")),
    columns((Object([Property("k", Array(DataType.datetime))]), "y"), (Map(AnyType()), "m")),
    columns((DataType.long, None), (DataType.string, None)),
    Schema([TensorSpec(np.dtype("float32"), (-1, 2), "x")]),
    Schema([TensorSpec(np.dtype("int64"), (-1, 1))]),
]
TABLES = [
    pa.table({name: COLUMNS[name] for name in names})
    for names in (
        ("count", "size", "name", "open", "since"),
        ("x",),
        ("count", "d"),
        ("y", "m"),
        ("count", "name"),
        ("b", "n"),
        ("count",),
    )
]
TEXTS = [
    csv_text(
        ["count", "size", "name", "open", "since"],
        [[1, 1.5, "a", True, "2024-01-02"], [2, None, SENTINEL, False, None]],
    ),
    csv_text(["x"], [[1.5], [None], ["NaN"]]),
    csv_text(["count", "d"], [[1, "a\nb"], [2, 'q"q']]),
    csv_text(["y", "m"], [[{"k": ["2024-01-02"]}, {"a": 1}]]),
    b"\xef\xbb\xbfx\r\n[1.5]\r\n\r\n",
]
PIECES = [
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b'""',
    b"9" * 30,
    b"nan",
    b"1e999",
    b"-",
    b" ",
    b"{",
    b"\xef\xbb\xbf",
]


def damaged(body: bytes, rng: random.Random) -> bytes:
    """Return `body` with random bytes cut, changed, duplicated, or replaced by huge numbers."""
    mutated = bytearray(body)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(max(1, len(mutated)))
        damage = rng.randrange(6)
        if damage == 0:
            mutated[at : at + 1] = bytes([rng.randrange(256)])
        elif damage == 1:
            del mutated[at : at + rng.randrange(1, 9)]
        elif damage == 2:
            mutated[at : at + 4] = struct.pack("<i", rng.choice([0, 1, -1, 2**31 - 1, -(2**31), 65536]))
        elif damage == 3:
            mutated[at:at] = mutated[at : at + rng.randrange(64)]
        elif damage == 4:
            mutated[at : at + 8] = struct.pack("<q", rng.choice([0, -1, 2**40, 2**62]))
        else:
            mutated[at:at] = rng.choice(PIECES)
    if rng.random() < 0.1:
        del mutated[rng.randrange(max(1, len(mutated))) :]
    return bytes(mutated)


def decode_message(body: bytes, media_type: str, spec: InputSpec) -> str:
    """Return the message and the details of the error, or nothing if the body is decoded."""
    try:
        formats.decode(Job(body, media_type), spec)
    except InvalidInput as error:
        return f"{error} {error.details}"
    return ""


def seeds(write: Callable[[pa.Table], bytes], **options: Any) -> list[bytes]:
    return [write(table, **options) for table in TABLES]


SEEDS = {
    CSV: TEXTS,
    ARROW: seeds(arrow_stream)
    + seeds(arrow_stream, compression="zstd")
    + seeds(arrow_stream, compression="lz4"),
    PARQUET: seeds(parquet_file) + seeds(parquet_file, compression="zstd", use_dictionary=False),
}


@pytest.mark.parametrize("media_type", [CSV, ARROW, PARQUET])
def test_thousands_of_damaged_bodies(media_type: str) -> None:
    """Each body is decoded or rejected, and no error repeats the value of a cell."""
    rng = random.Random(7316)  # noqa: S311 - a seeded fuzz
    specs = [input_spec(schema) for schema in SCHEMAS]
    rejected = 0
    for number in range(ROUNDS):
        body = damaged(rng.choice(SEEDS[media_type]), rng)
        error = decode_message(body, media_type, specs[number % len(specs)])
        rejected += bool(error)
        assert ".py" not in error
        assert "Error" not in error
        in_header = SENTINEL.encode() in body.partition(b"\n")[0]  # an error may repeat a name
        assert in_header or SENTINEL not in error
    assert ROUNDS // 4 < rejected < ROUNDS


@pytest.mark.parametrize("media_type", [CSV, PARQUET])
def test_damaged_bodies_with_mlflow_checks(media_type: str) -> None:
    """With `mlflow` checks each body is decoded or rejected too."""
    rng = random.Random(1673)  # noqa: S311 - likewise
    spec = input_spec(MIXED, checks="mlflow")
    for _ in range(300):
        assert SENTINEL not in decode_message(damaged(SEEDS[media_type][0], rng), media_type, spec)


@pytest.mark.parametrize("body", [b"", b"x", b"PAR1", b"PAR1PAR1", b"ARROW1\0\0", b"\xff" * 100, b"\0" * 100])
@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_bodies_of_another_format(media_type: str, body: bytes) -> None:
    """Other bytes are rejected with the name of the expected format."""
    assert "Arrow" in str(decode_error(body, ARROW, DOUBLE))
    assert "Parquet" in str(decode_error(body, PARQUET, DOUBLE))


def _bombs() -> dict[str, tuple[str, bytes]]:
    zeros = pa.table({"x": pa.array(np.zeros(48 * 2**20))})
    text = pa.array(["a" * 2**20])
    many = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2**10, np.int8)), text)
    huge_list = pa.FixedSizeListArray.from_arrays(pa.nulls(2**28), 2**28)
    return {
        "compressed buffers": (ARROW, arrow_stream(zeros, compression="zstd")),
        "compressed pages": (PARQUET, parquet_file(zeros, compression="zstd", use_dictionary=False)),
        "one value for all": (PARQUET, parquet_file(zeros)),
        "a long text, often": (ARROW, arrow_stream(pa.table({"x": many}))),
        "a long text, often, in pages": (PARQUET, parquet_file(pa.table({"x": many}))),
        "nulls of no bytes": (ARROW, arrow_stream(pa.table({"x": pa.nulls(2**27)}))),
        "a list of no bytes": (ARROW, arrow_stream(pa.table({"x": huge_list}))),
    }


def test_columns_that_share_their_bytes() -> None:
    """Columns that share one buffer count each, as a model gets each as its own."""
    array = pa.array(np.zeros(2**20))
    table = pa.table({f"x{number}": array for number in range(40)})
    assert pa.total_allocated_bytes() < size_limits.max_decoded_bytes(b"")
    with pytest.raises(InvalidInput, match="when decoded"):
        size_limits.check_decoded_size(table, max_bytes=size_limits.max_decoded_bytes(b""))


BOMBS = _bombs()


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    """A small body that would become large is rejected before it is decoded."""
    media_type, body = BOMBS[name]
    allocated = pa.total_allocated_bytes()
    error = decode_error(body, media_type, None)
    assert "when decoded" in str(error)
    assert pa.total_allocated_bytes() - allocated < size_limits.max_decoded_bytes(body)


def test_a_parquet_schema_that_is_too_deep() -> None:
    """A schema whose depth would end the process is rejected; one that is only wide is decoded."""
    for depth in (4_000, 100_000, 300_000):
        body = _deep(depth)
        assert "nested more than" in str(decode_error(body, PARQUET, DOUBLE))
    wide = pa.table({f"a column with a long name, number {number}": [1.5] for number in range(1_000)})
    body = parquet_file(wide)
    assert struct.unpack("<I", body[-8:-4])[0] > 32 * 1024
    assert formats.decode(Job(body, PARQUET), input_spec(None)).data.shape == (1, 1_000)


def _deep(depth: int) -> bytes:
    """Return a Parquet file of nested groups, made by hand: no writer makes one this deep."""
    group, leaf = b"\x35\x00\x18\x01a\x15\x02\x00", b"\x15\x02\x25\x00\x18\x01a\x00"
    elements = b"\x48\x01a\x15\x02\x00" + group * depth + leaf
    count, size = depth + 2, b""
    while count > 0x7F:
        size, count = size + bytes([count & 0x7F | 0x80]), count >> 7
    footer = b"\x15\x02\x19\xfc" + size + bytes([count]) + elements + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def test_unsupported_types() -> None:
    """Unions and run-ends are rejected; extension types are decoded as their storage type."""
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2**30], pa.int32()), pa.array([1.5]))
    for array in (union, runs):
        assert "not read here" in str(decode_error(arrow_stream(pa.table({"x": array})), ARROW, DOUBLE))
    stored = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8()))
    frame = formats.decode(
        Job(arrow_stream(pa.table({"x": stored})), ARROW), input_spec(column(DataType.long))
    ).data
    assert frame["x"].tolist() == [1, 0]


def test_columns_without_or_with_equal_names() -> None:
    """A table without columns, with duplicate names or with names that are not UTF-8 is rejected."""
    bad_name = arrow_stream(pa.table({"column": [1]})).replace(b"column", b"\xff\xfe\xfd\xfcmn")
    assert "not UTF-8" in str(decode_error(bad_name, ARROW, None))
    bad_zone = arrow_stream(pa.table({"x": pa.array([1], pa.timestamp("s", "Etc/Unknown"))}))
    assert "not UTF-8" in str(decode_error(bad_zone.replace(b"Etc/", b"\xff\xfe\xfd/"), ARROW, None))
    assert "no columns" in str(decode_error(arrow_stream(pa.table({})), ARROW, None))
    duplicate = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert "twice" in str(decode_error(arrow_stream(duplicate), ARROW, None))
    fields = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["k", "k"])
    mlflow_type = Object([Property("k", DataType.long)])
    assert "cannot be read" in str(
        decode_error(arrow_stream(pa.table({"x": fields})), ARROW, column(mlflow_type))
    )


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"use_legacy_format": True}])
def test_bytes_after_the_end_of_a_stream(options: dict[str, Any]) -> None:
    """A second stream is not dropped silently; a stream may end with the body instead of a mark."""
    stream = arrow_stream(pa.table({"x": [1.5, 2.5]}), **options)
    mark = 4 if "use_legacy_format" in options else 8
    for body in (stream, stream[:-mark]):
        assert len(formats.decode(Job(body, ARROW), input_spec(DOUBLE)).data) == 2
    for surplus in (stream, b"x"):
        error = decode_error(stream + surplus, ARROW, DOUBLE)
        assert f"{len(surplus)} bytes follow" in str(error)
