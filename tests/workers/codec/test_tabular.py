"""A table in CSV, Parquet or Arrow gives the same frame as in JSON, or the same errors."""

from __future__ import annotations

import datetime
import decimal
import io
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc.scoring_server import parse_csv_input, parse_parquet_input
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema, TensorSpec
from pandas.testing import assert_frame_equal

from tests.support.codec import specs
from tests.support.codec.specs import MIXED, SENTINEL, column, columns, input_spec
from tests.support.codec.tabular import (
    FORMATS,
    arrow_stream,
    csv_text,
    decode_error,
    model_input,
    parquet_file,
)
from workers.codec import formats
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import ARROW, CSV, PARQUET, Job

ITEM = Object([Property("k", DataType.long), Property("note", DataType.string, required=False)])
UTC = datetime.UTC
NOON = datetime.datetime(2024, 1, 2, 12, tzinfo=UTC)
FINER = decimal.Decimal("1.00000000000000000001")
LATER = NOON + datetime.timedelta(microseconds=1)

# Signature type, JSON values, Arrow types that hold them, Python values for Arrow if they differ.
VALUES: list[tuple[Any, list[Any], list[pa.DataType], list[Any] | None]] = [
    (DataType.boolean, [True, False], [pa.bool_()], None),
    (DataType.integer, [1, -(2**31), 2**31 - 1], [pa.int32(), pa.int64(), pa.decimal128(20, 2)], None),
    (DataType.integer, [1, 2], [pa.uint8(), pa.float32(), pa.dictionary(pa.int8(), pa.int16())], None),
    (DataType.long, [1, -(2**63), 2**63 - 1], [pa.int64(), pa.decimal128(38, 0)], None),
    (DataType.long, [0, 2**63 - 1], [pa.uint64()], None),
    (DataType.long, [2.0, 3.0], [pa.float64(), pa.float32(), pa.float16()], None),
    (DataType.float, [1.5, 0.1, 2.0], [pa.float64()], None),
    (DataType.float, [1.5, None], [pa.float64(), pa.float32(), pa.float16()], None),
    (DataType.double, [1.5, 0.1, None, 1e300], [pa.float64()], None),
    (DataType.double, [2, None, 2**53], [pa.int64(), pa.uint64()], None),
    (DataType.double, [2, 3], [pa.int8(), pa.int64(), pa.decimal128(20, 3)], None),
    (DataType.double, [None, None], [pa.null(), pa.float64(), pa.int64()], None),
    (DataType.string, ["a", "", "wörld ☃", "NA", "null", " x ", '"q"', "a,b\r\nc"], [pa.string()], None),
    (
        DataType.string,
        ["a", None, "a"],
        [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
        None,
    ),
    (DataType.string, [None, None], [pa.string(), pa.null()], None),
    (
        DataType.binary,
        ["aGVsbG8=", "", None],
        [pa.binary(), pa.large_binary(), pa.binary_view()],
        [b"hello", b"", None],
    ),
    (DataType.binary, ["aGVsbG8="], [pa.binary(5)], [b"hello"]),
    (
        DataType.datetime,
        ["2024-01-02T12:00:00Z", None, "2024-01-02T12:00:00.000001Z"],
        [
            pa.timestamp("us"),
            pa.timestamp("ns"),
            pa.timestamp("us", "Europe/Berlin"),
            pa.timestamp("ns", "UTC"),
        ],
        [NOON, None, LATER],
    ),
    (DataType.datetime, ["2024-01-02"], [pa.date32(), pa.date64()], [datetime.date(2024, 1, 2)]),
    (DataType.datetime, ["2024-01-02", "2024-01-02T03:00+02:00"], [pa.string()], None),
    (Array(DataType.long), [[1, 2], [3]], [pa.list_(pa.int32()), pa.large_list(pa.int64())], None),
    (Array(DataType.long), [[1, 2], [3, 4]], [pa.list_(pa.int64(), 2)], None),
    (Array(DataType.double), [[1.5, None], []], [pa.list_(pa.float64())], None),
    (Array(DataType.string), [["a", "b"], ["c"]], [pa.list_(pa.string())], None),
    (Array(Array(DataType.boolean)), [[[True], [False, True]]], [pa.list_(pa.list_(pa.bool_()))], None),
    (
        Array(DataType.datetime),
        [["2024-01-02T12:00:00+00:00"]],
        [pa.list_(pa.timestamp("us", "UTC"))],
        [[NOON]],
    ),
    (Array(DataType.binary), [["aGk="]], [pa.list_(pa.binary())], [[b"hi"]]),
    (
        ITEM,
        [{"k": 1, "note": "n"}, {"k": 2, "note": None}],
        [pa.struct([("k", pa.int64()), ("note", pa.string())])],
        None,
    ),
    (Map(DataType.string), [{"a": "b"}, {}], [pa.map_(pa.string(), pa.string())], None),
    (AnyType(), ["a", None], [pa.string()], None),
]
CASES = [
    (mlflow_type, values, arrow_type, arrow_values or values)
    for mlflow_type, values, arrow_types, arrow_values in VALUES
    for arrow_type in arrow_types
]


@pytest.mark.parametrize(
    ("mlflow_type", "values", "arrow_type", "arrow_values"), CASES, ids=lambda value: str(value)[:40]
)
def test_every_type(
    mlflow_type: Any, values: list[Any], arrow_type: pa.DataType, arrow_values: list[Any]
) -> None:
    """Each Arrow type that can hold the values gives the frame of JSON, in Arrow and in Parquet."""
    table = pa.table({"x": _array(arrow_values, arrow_type)})
    for required in (True, False):
        schema = column(mlflow_type, required=required)
        expected = specs.model_input(specs.split_body(values), schema)
        assert_frame_equal(model_input(arrow_stream(table), ARROW, schema), expected)
        if not (pa.types.is_binary_view(arrow_type) or pa.types.is_string_view(arrow_type)):
            assert_frame_equal(model_input(parquet_file(table), PARQUET, schema), expected)


@pytest.mark.parametrize(
    ("mlflow_type", "values"), [case[:2] for case in VALUES], ids=lambda value: str(value)[:40]
)
def test_every_type_in_csv(mlflow_type: Any, values: list[Any]) -> None:
    """Each cell gives the value that JSON gives: from base64, ISO 8601, or JSON for lists and objects."""
    for required in (True, False):
        schema = column(mlflow_type, required=required)
        body = csv_text(["x"], [[value] for value in values])
        assert_frame_equal(
            model_input(body, CSV, schema), specs.model_input(specs.split_body(values), schema)
        )


def _array(values: list[Any], arrow_type: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(arrow_type):
        return pa.array(values, arrow_type.value_type).dictionary_encode().cast(arrow_type)
    if pa.types.is_decimal(arrow_type):
        return pa.array([None if value is None else decimal.Decimal(value) for value in values], arrow_type)
    if pa.types.is_float16(arrow_type):
        return pa.array([None if value is None else np.float16(value) for value in values], arrow_type)
    if pa.types.is_map(arrow_type):
        return pa.array([list(value.items()) for value in values], arrow_type)
    return pa.array(values, arrow_type)


# Values that Arrow and Parquet bodies must not have, with the row and the reason that JSON gives.
REJECTED: list[tuple[Any, pa.DataType, list[Any], int, str]] = [
    (DataType.long, pa.float64(), [1.0, 2.7], 1, "has a fraction"),
    (DataType.long, pa.float64(), [1.0, 2.0**60], 1, "2^52"),
    (DataType.long, pa.float64(), [1.0, 2.0**52], 1, "2^52"),
    (DataType.long, pa.decimal128(38, 1), [decimal.Decimal("4503599627370497.3")], 0, "has a fraction"),
    (DataType.long, pa.decimal128(38, 1), [decimal.Decimal("9007199254740993.5")], 0, "has a fraction"),
    (DataType.integer, pa.decimal128(38, 20), [FINER], 0, "has a fraction"),
    (Array(DataType.long), pa.list_(pa.decimal128(38, 20)), [[FINER]], 0,
     "at [0]: has a fraction"),
    (DataType.long, pa.int64(), [1, None], 1, "null"),
    (DataType.long, pa.uint64(), [1, 2**63], 1, "beyond the range"),
    (DataType.long, pa.decimal128(5, 2), [decimal.Decimal("1.25")], 0, "has a fraction"),
    (DataType.integer, pa.int64(), [1, 3_000_000_000], 1, "beyond the range"),
    (DataType.float, pa.float64(), [1.0, 1e300], 1, "beyond the range"),
    (DataType.double, pa.int64(), [1, 2**53 + 1], 1, "cannot hold exactly"),
    (DataType.boolean, pa.bool_(), [True, None], 1, "null"),
    (DataType.datetime, pa.timestamp("s"), [0, 2**40], 1, "1677 to 2262"),
    (DataType.datetime, pa.timestamp("ns"), [0, -(2**63)], 1, "1677 to 2262"),
    (DataType.datetime, pa.string(), ["2024-01-02", SENTINEL], 1, "ISO 8601"),
    (Array(DataType.long), pa.list_(pa.float64()), [[1.0], [1.5]], 1, "at [0]: has a fraction"),
    (Map(DataType.string), pa.map_(pa.string(), pa.int64()), [[("a", 1)]], 0, "not a string"),
]  # fmt: skip


@pytest.mark.parametrize(("mlflow_type", "arrow_type", "values", "row", "reason"), REJECTED)
def test_values_that_do_not_fit(
    mlflow_type: Any, arrow_type: pa.DataType, values: list[Any], row: int, reason: str
) -> None:
    """Values in Arrow and Parquet are rejected with the rows and reasons of JSON."""
    table = pa.table({"x": pa.array(values, arrow_type)})
    for body, media_type in ((arrow_stream(table), ARROW), (parquet_file(table), PARQUET)):
        cell = decode_error(body, media_type, column(mlflow_type)).details[0]
        assert (cell.row, cell.column) == (row, "x")
        assert reason in cell.reason


@pytest.mark.parametrize(
    ("mlflow_type", "arrow_type", "values"),
    [
        (DataType.long, pa.string(), ["1"]),
        (DataType.double, pa.bool_(), [True]),
        (DataType.boolean, pa.int64(), [1]),
        (DataType.string, pa.int64(), [1]),
        (DataType.string, pa.binary(), [b"a"]),
        (DataType.binary, pa.string(), ["abcd"]),
        (DataType.datetime, pa.int64(), [1704164645]),
        (DataType.datetime, pa.duration("s"), [1]),
        (DataType.double, pa.list_(pa.float64()), [[1.5]]),
        (DataType.string, pa.struct([("a", pa.string())]), [{"a": "b"}]),
    ],
)
def test_another_family_of_types(mlflow_type: Any, arrow_type: pa.DataType, values: list[Any]) -> None:
    """A column of another family of types is rejected as a whole, by its name."""
    error = decode_error(
        arrow_stream(pa.table({"x": pa.array(values, arrow_type)})), ARROW, column(mlflow_type)
    )
    assert (error.details[0].row, error.details[0].column) == (None, "x")
    assert f"expected {mlflow_type.name}" in str(error)


@pytest.mark.parametrize(
    ("mlflow_type", "cell", "reason"),
    [
        (DataType.long, "2.7", "has a fraction"),
        (DataType.long, "4503599627370497.3", "has a fraction"),
        (DataType.long, "-1.00000000000000000001", "has a fraction"),
        (DataType.integer, "1e-400", "has a fraction"),
        (DataType.integer, "1e-" + "9" * 5000, "has a fraction"),
        (DataType.long, "10000000000000000000001e-21", "has a fraction"),
        (DataType.long, "4503599627370496.0", "2^52"),
        (DataType.long, SENTINEL, "not a number"),
        (DataType.long, "", "null"),
        (DataType.long, "0x1F", "not a number"),
        (DataType.long, "1_000", "not a number"),
        (DataType.long, "٣", "not a number"),
        (DataType.long, "9223372036854775808", "beyond the range"),
        (DataType.long, "9" * 5000, "beyond the range"),
        (DataType.integer, "3000000000", "beyond the range"),
        (DataType.double, "NA", "not a number"),
        (DataType.double, "1e400", "beyond the range"),
        (DataType.double, "9007199254740993", "cannot hold exactly"),
        (DataType.float, "1e300", "beyond the range"),
        (DataType.boolean, "1", "not a boolean"),
        (DataType.boolean, "", "null"),
        (DataType.datetime, "1704164645", "not an ISO 8601"),
        (DataType.datetime, "2024-02-30", "not a date and time that exists"),
        (DataType.binary, "?", "not base64"),
        (Array(DataType.long), "[1.5]", "has a fraction"),
        (Array(DataType.long), "[1", "not a list"),
        (Array(DataType.long), "", "not a list"),
    ],
)
def test_cells_of_csv_that_do_not_fit(mlflow_type: Any, cell: str, reason: str) -> None:
    """The error has the row, the column and the reason of JSON."""
    fits = {DataType.boolean: "true", DataType.datetime: "2024-01-02", DataType.binary: "aGk="}
    good = "[1]" if isinstance(mlflow_type, Array) else fits.get(mlflow_type, "1")
    error = decode_error(
        f'x,y\n"{good}",a\n"{cell}",b\n'.encode(), CSV, columns((mlflow_type, "x"), (DataType.string, "y"))
    )
    assert [(problem.row, problem.column) for problem in error.details] == [(1, "x")]
    assert reason in error.details[0].reason


@pytest.mark.parametrize(
    ("mlflow_type", "cells", "expected"),
    [
        (DataType.long, ["+5", " 6 ", "7.0", "8e0", "007"], [5, 6, 7, 8, 7]),
        (
            DataType.long,
            ["-0.0e-400", ".0", "700e-2", "1.50E1", "4503599627370495.00"],
            [0, 0, 7, 15, 2**52 - 1],
        ),
        (DataType.long, ["0e" + "9" * 5000, "0e-" + "9" * 5000], [0, 0]),
        (DataType.double, ["1.00000000000000000001", "1e-400"], [1.0, 0.0]),
        (DataType.double, [".5", "5.", " 1e3", "+2"], [0.5, 5.0, 1000.0, 2.0]),
        (
            DataType.double,
            ["nan", "inf", "-Infinity", "1.5", ""],
            [math.nan, math.inf, -math.inf, 1.5, math.nan],
        ),
        (DataType.float, ["inf", "0.1"], [math.inf, float(np.float32(0.1))]),
        (DataType.double, ["inf", "1e5", "+inf"], [math.inf, 1e5, math.inf]),
        (DataType.double, ["-inf", "+1", ".5", "1e-7"], [-math.inf, 1.0, 0.5, 1e-7]),
        (DataType.boolean, ["True", "FALSE", " true"], [True, False, True]),
        (DataType.double, ["0.1", "1.7976931348623157e308", "5e-324"], [0.1, 1.7976931348623157e308, 5e-324]),
    ],
)
def test_ways_to_write_a_cell(mlflow_type: Any, cells: list[str], expected: list[Any]) -> None:
    """Spaces, signs and the spellings of booleans and non-finite numbers of other writers are accepted."""
    actual = model_input(csv_text(["x", "y"], []) + b"".join(f"{cell},\n".encode() for cell in cells), CSV,
                columns((mlflow_type, "x"), (DataType.string, "y")))  # fmt: skip
    np.testing.assert_array_equal(actual["x"].to_numpy(), np.array(expected, dtype=mlflow_type.to_pandas()))


@pytest.mark.parametrize(
    ("body", "row", "message"),
    [
        (b"", None, "is empty"),
        (b"\xef\xbb\xbf\n\n", None, "is empty"),
        (b"x,x\n1,2\n", None, "twice"),
        (b"x,y\n1\n", 0, "has 1 values, expected 2"),
        (b"x,y\n1,2\n1,2,s3cr3t-7316\n", 1, "has 3 values, expected 2"),
        (b'x,y\n1,"2\n', None, "does not end"),
        (b'x,y\n1,"s3cr3t-7316"2\n', None, "quote within"),
        (b'x,y\n1,2"s3cr3t-7316"\n', None, "quote within"),
        (b"x,y\n1,\xff\n", None, "UTF-8"),
        (b"x,y\n1,2,\xff\n", None, "UTF-8"),
        (b"\xff,y\n1,2\n", None, "UTF-8"),
        ("x,y\n1,2\n".encode("utf-16"), None, "UTF-8"),
        (b"x,y,s3cr3t-" + b"7316\n", None, "not a column"),
    ],
)
def test_csv_that_cannot_be_read(body: bytes, row: int | None, message: str) -> None:
    """CSV whose cells or lines are ambiguous is rejected."""
    schema = columns((DataType.long, "x"), (DataType.string, "y"))
    if "not a column" in message:
        body = b"x,y,z\n1,2,3\n"
    error = decode_error(body, CSV, schema)
    assert message in f"{error} {error.details}"
    if row is not None:
        assert error.details[0].row == row


def test_the_lines_of_csv() -> None:
    """A byte order mark, all line ends, newlines in cells, blank lines and no last newline are accepted."""
    schema = columns((DataType.long, "x"), (DataType.string, "y"))
    expected = specs.model_input(
        {"dataframe_split": {"columns": ["x", "y"], "data": [[1, "a\nb"], [2, 'q"']]}}, schema
    )
    for end in ("\n", "\r\n", "\r"):
        body = f'\ufeffy,x{end}"a\nb",1{end}{end}"q""",2'.encode()
        assert_frame_equal(model_input(body, CSV, schema), expected)
    assert model_input(b"x,y\n", CSV, schema).shape == (0, 2)


def test_one_column_of_csv() -> None:
    """In a table of one column a blank line is an empty cell; a quoted empty cell is an empty text."""
    assert model_input(b'x\na\n\n""\n', CSV, column(DataType.string))["x"].isna().tolist() == [
        False,
        True,
        False,
    ]
    assert model_input(b'x\n1.5\n\n""\n', CSV, column(DataType.double))["x"].isna().tolist() == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("media_type", FORMATS)
def test_names_and_optional_columns(media_type: str) -> None:
    """The frame has the order of the signature; errors name unknown columns and missing required ones."""
    schema = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.long, "b", required=False)])
    actual = model_input(_body({"b": [1, 2], "a": [1.5, 2.5]}, media_type), media_type, schema)
    assert_frame_equal(actual, pd.DataFrame({"a": [1.5, 2.5], "b": [1, 2]}))
    assert list(model_input(_body({"a": [1.5], "b": [None]}, media_type), media_type, schema)) == ["a"]
    error = decode_error(_body({"b": [1], "zz": [1]}, media_type), media_type, schema)
    assert [(cell.column, cell.reason) for cell in error.details] == [
        ("zz", "not a column of the signature"),
        ("a", "missing"),
    ]


@pytest.mark.parametrize("media_type", FORMATS)
def test_nameless_columns(media_type: str) -> None:
    """Columns match a signature without names by position."""
    schema = columns((DataType.long, None), (DataType.string, None))
    expected = specs.model_input({"dataframe_split": {"columns": ["p", "q"], "data": [[1, "a"]]}}, schema)
    assert_frame_equal(model_input(_body({"p": [1], "q": ["a"]}, media_type), media_type, schema), expected)


@pytest.mark.parametrize("media_type", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8"])
def test_tensors(media_type: str, dtype: str) -> None:
    """The columns are one array, or one array each if the signature names its inputs."""
    one = Schema([TensorSpec(np.dtype(dtype), (-1, 2))])
    body = _body({"a": [1, 2], "b": [3, 4]}, media_type)
    np.testing.assert_array_equal(model_input(body, media_type, one), np.array([[1, 3], [2, 4]], dtype))
    named = Schema([TensorSpec(np.dtype(dtype), (-1,), "a"), TensorSpec(np.dtype("float64"), (-1, 1), "b")])
    actual = model_input(body, media_type, named)
    np.testing.assert_array_equal(actual["a"], np.array([1, 2], dtype))
    np.testing.assert_array_equal(actual["b"], np.array([[3.0], [4.0]]))
    assert "has the shape" in str(decode_error(_body({"a": [1]}, media_type), media_type, one))


def test_tensors_of_lists() -> None:
    """Lists of one length are the rows of an array, folded into the signature's shape."""
    table = pa.table({"x": [[1.0, 2.0, 3.0, 4.0]] * 3})
    schema = Schema([TensorSpec(np.dtype("float32"), (-1, 2, 2), "x")])
    expected = {"x": np.array([[[1, 2], [3, 4]]] * 3, dtype=np.float32)}
    for body, media_type in ((arrow_stream(table), ARROW), (parquet_file(table), PARQUET)):
        np.testing.assert_equal(model_input(body, media_type, schema), expected)
    assert "not an array" in str(
        decode_error(arrow_stream(pa.table({"x": [[1.0], [1.0, 2.0]]})), ARROW, schema)
    )
    assert "shape" in str(decode_error(arrow_stream(pa.table({"x": [[1.0], [2.0]]})), ARROW, schema))


def test_without_signature() -> None:
    """The frame has pandas' dtypes; integers that a null would round stay exact; zoned times become UTC."""
    table = pa.table({
        "n": pa.array([2**53 + 1, None]), "m": [1, None], "s": ["a", None], "l": [[1], [2]],
        "t": pa.array([0, 1], pa.timestamp("s", "Europe/Berlin")),
    })  # fmt: skip
    for body, media_type in ((arrow_stream(table), ARROW), (parquet_file(table), PARQUET)):
        actual = model_input(body, media_type, None)
        assert actual["n"].tolist() == [2**53 + 1, None]
        assert actual["m"].dtype == np.float64
        assert actual["l"].tolist() == [[1], [2]]
        assert str(actual["t"].dt.tz) == "UTC"
        actual.loc[0, "m"] = 5.0
    body = b'n,s,q\n007,NA,0.1\n8,"a",0.30000000000000004\n'
    assert_frame_equal(
        model_input(body, CSV, None),
        pd.DataFrame({"n": [7, 8], "s": [None, "a"], "q": [0.1, 0.30000000000000004]}).astype({"s": "str"}),
    )


@pytest.mark.parametrize("media_type", FORMATS)
def test_type_hinted_models(media_type: str) -> None:
    """A model with type hints accepts only JSON."""
    spec = InputSpec.from_model(_model_with_type_hints(), input_checks="strict")
    with pytest.raises(InvalidInput, match="type hints"):
        formats.decode(Job(_body({"x": [1]}, media_type), media_type), spec)


def _model_with_type_hints() -> Any:
    model = Model()
    model.signature = ModelSignature(inputs=column(AnyType()))
    model.signature._is_signature_from_type_hint = True
    return model


def test_mlflows_own_readers() -> None:
    """With `mlflow` checks CSV and Parquet give the scoring server's frames, or are rejected."""
    schema = columns((DataType.long, "x"), (DataType.string, "s"))
    text = b"x,s\n1,NA\n2,b\n"
    actual = formats.decode(Job(text, CSV), input_spec(schema, checks="mlflow")).data
    assert_frame_equal(actual, parse_csv_input(io.StringIO(text.decode()), schema))
    file = parquet_file(pa.table({"x": [1, 2], "s": ["NA", None]}))
    actual = formats.decode(Job(file, PARQUET), input_spec(schema, checks="mlflow")).data
    assert_frame_equal(actual, parse_parquet_input(pa.BufferReader(file)))
    decode_error(b"x,s\ns3cr3t-7316,2\n", CSV, schema, checks="mlflow")
    decode_error(b"x,s\n\xff,2\n", CSV, schema, checks="mlflow")
    decode_error(file[:-20] + b"PAR1", PARQUET, schema, checks="mlflow")


def _body(table: dict[str, list[Any]], media_type: str) -> bytes:
    actual = pa.table(table)
    if media_type == CSV:
        return csv_text(list(table), list(zip(*table.values(), strict=True)))
    return arrow_stream(actual) if media_type == ARROW else parquet_file(actual)


ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
        st.booleans(),
        st.none() | st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),  # noqa: DTZ001 - naive, as MLflow's are
    ),
    max_size=8,
)
TYPES = pa.schema(
    [
        ("count", pa.int64()),
        ("size", pa.float64()),
        ("name", pa.string()),
        ("open", pa.bool_()),
        ("since", pa.timestamp("us")),
    ]
)


@settings(max_examples=60)
@given(ROWS)
def test_random_tables(rows: list[tuple[Any, ...]]) -> None:
    """All formats give the frame of JSON for random rows."""
    message = [[*row[:4], None if row[4] is None else row[4].isoformat()] for row in rows]
    expected = specs.model_input({"dataframe_split": {"columns": TYPES.names, "data": message}}, MIXED)
    cells = (
        dict(zip(TYPES.names, zip(*rows, strict=True), strict=True))
        if rows
        else {name: [] for name in TYPES.names}
    )
    table = pa.table(cells, TYPES)
    assert_frame_equal(model_input(arrow_stream(table), ARROW, MIXED), expected)
    assert_frame_equal(model_input(parquet_file(table), PARQUET, MIXED), expected)
    assert_frame_equal(model_input(csv_text(TYPES.names, message), CSV, MIXED), expected)
