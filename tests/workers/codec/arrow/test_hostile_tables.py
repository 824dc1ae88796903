"""Damaged and hostile CSV, Parquet and Arrow: read or refused as input, soon and within bounds."""

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


def damaged(body: bytes, dice: random.Random) -> bytes:
    """`body` cut, flipped, doubled, or with numbers in it made huge."""
    made = bytearray(body)
    for _ in range(dice.choice([1, 1, 1, 2, 4, 16])):
        at = dice.randrange(max(1, len(made)))
        how = dice.randrange(6)
        if how == 0:
            made[at : at + 1] = bytes([dice.randrange(256)])
        elif how == 1:
            del made[at : at + dice.randrange(1, 9)]
        elif how == 2:
            made[at : at + 4] = struct.pack("<i", dice.choice([0, 1, -1, 2**31 - 1, -(2**31), 65536]))
        elif how == 3:
            made[at:at] = made[at : at + dice.randrange(64)]
        elif how == 4:
            made[at : at + 8] = struct.pack("<q", dice.choice([0, -1, 2**40, 2**62]))
        else:
            made[at:at] = dice.choice(PIECES)
    if dice.random() < 0.1:
        del made[dice.randrange(max(1, len(made))) :]
    return bytes(made)


def said(body: bytes, media_type: str, held_against: InputSpec) -> str:
    """The message and the details of the refusal, empty where the body was read."""
    try:
        formats.decode(Job(body, media_type), held_against)
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
    """Each is read or refused, and no refusal says what stood in a cell."""
    dice = random.Random(7316)  # noqa: S311 - a seeded fuzz
    plans = [input_spec(schema) for schema in SCHEMAS]
    refusals = 0
    for number in range(ROUNDS):
        body = damaged(dice.choice(SEEDS[media_type]), dice)
        told = said(body, media_type, plans[number % len(plans)])
        refusals += bool(told)
        assert ".py" not in told
        assert "Error" not in told
        named = SENTINEL.encode() in body.partition(b"\n")[0]  # a name is said back, a value is not
        assert named or SENTINEL not in told
    assert ROUNDS // 4 < refusals < ROUNDS


@pytest.mark.parametrize("media_type", [CSV, PARQUET])
def test_damaged_bodies_where_mlflow_checks(media_type: str) -> None:
    """Nothing but a refusal comes of MLflow's own readers either."""
    dice = random.Random(1673)  # noqa: S311 - likewise
    by_mlflow = input_spec(MIXED, checks="mlflow")
    for _ in range(300):
        assert SENTINEL not in said(damaged(SEEDS[media_type][0], dice), media_type, by_mlflow)


@pytest.mark.parametrize("body", [b"", b"x", b"PAR1", b"PAR1PAR1", b"ARROW1\0\0", b"\xff" * 100, b"\0" * 100])
@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_what_is_neither(media_type: str, body: bytes) -> None:
    """Other bytes are refused by name of the format."""
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
    """Forty columns that lie in the same place are as many columns to a model, and count as such."""
    array = pa.array(np.zeros(2**20))
    table = pa.table({f"x{number}": array for number in range(40)})
    assert pa.total_allocated_bytes() < size_limits.max_decoded_bytes(b"")
    with pytest.raises(InvalidInput, match="when decoded"):
        size_limits.check_decoded_size(table, max_bytes=size_limits.max_decoded_bytes(b""))


BOMBS = _bombs()


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    """What is small and would become large is refused before it does."""
    media_type, body = BOMBS[name]
    held = pa.total_allocated_bytes()
    told = decode_error(body, media_type, None)
    assert "when decoded" in str(told)
    assert pa.total_allocated_bytes() - held < size_limits.max_decoded_bytes(body)


def test_a_parquet_schema_that_is_too_deep() -> None:
    """One that would end the process by its depth is refused; one that is only wide is read."""
    for depth in (4_000, 100_000, 300_000):
        body = _deep(depth)
        assert "nested more than" in str(decode_error(body, PARQUET, DOUBLE))
    wide = pa.table({f"a column with a long name, number {number}": [1.5] for number in range(1_000)})
    body = parquet_file(wide)
    assert struct.unpack("<I", body[-8:-4])[0] > 32 * 1024
    assert formats.decode(Job(body, PARQUET), input_spec(None)).data.shape == (1, 1_000)


def _deep(depth: int) -> bytes:
    """A Parquet file of groups within groups, by hand: no writer makes such a one."""
    group, leaf = b"\x35\x00\x18\x01a\x15\x02\x00", b"\x15\x02\x25\x00\x18\x01a\x00"
    elements = b"\x48\x01a\x15\x02\x00" + group * depth + leaf
    count, size = depth + 2, b""
    while count > 0x7F:
        size, count = size + bytes([count & 0x7F | 0x80]), count >> 7
    footer = b"\x15\x02\x19\xfc" + size + bytes([count]) + elements + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def test_types_that_have_no_place() -> None:
    """Unions and run-ends are refused; extension types are what they are stored in."""
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2**30], pa.int32()), pa.array([1.5]))
    for array in (union, runs):
        assert "not read here" in str(decode_error(arrow_stream(pa.table({"x": array})), ARROW, DOUBLE))
    stored = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8()))
    made = formats.decode(
        Job(arrow_stream(pa.table({"x": stored})), ARROW), input_spec(column(DataType.long))
    ).data
    assert made["x"].tolist() == [1, 0]


def test_columns_without_or_with_equal_names() -> None:
    """A table needs columns, each with a name of its own, in UTF-8."""
    garbled = arrow_stream(pa.table({"column": [1]})).replace(b"column", b"\xff\xfe\xfd\xfcmn")
    assert "not UTF-8" in str(decode_error(garbled, ARROW, None))
    zoned = arrow_stream(pa.table({"x": pa.array([1], pa.timestamp("s", "Etc/Unknown"))}))
    assert "not UTF-8" in str(decode_error(zoned.replace(b"Etc/", b"\xff\xfe\xfd/"), ARROW, None))
    assert "no columns" in str(decode_error(arrow_stream(pa.table({})), ARROW, None))
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert "twice" in str(decode_error(arrow_stream(twice), ARROW, None))
    fields = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["k", "k"])
    kind = Object([Property("k", DataType.long)])
    assert "cannot be read" in str(decode_error(arrow_stream(pa.table({"x": fields})), ARROW, column(kind)))
