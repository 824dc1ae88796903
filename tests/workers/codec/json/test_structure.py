"""JSON whose lists and objects would take far more memory than the body are refused before they are built."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mlflow.types.schema import AnyType, Array, DataType, Schema, TensorSpec

from tests.support.codec.specs import column, decode, decode_error, input_spec, model_input
from workers.codec import formats
from workers.codec.json.structure import check_structure
from workers.errors import InvalidInput
from workers.protocol.messages import CSV, OPEN_INFERENCE, Job

if TYPE_CHECKING:
    from workers.protocol.messages import InputChecks

MEBIBYTE = 2**20
EMPTY_LISTS = b"[]," * (MEBIBYTE + 1)
DOUBLE = column(DataType.double)
V2_TENSOR = b'{"inputs":[{"name":"x","datatype":"%s","shape":[1],"data":[%s1]%s}]}'

BOMBS: dict[str, bytes] = {
    "empty lists": b'{"inputs":[' + EMPTY_LISTS + b"[1]]}",
    "empty objects": b'{"inputs":[' + b"{}," * (MEBIBYTE + 1) + b"1]}",
    "nested lists": b'{"inputs":[' + b"[[[[]]]]," * (MEBIBYTE // 4 + 1) + b"1]}",
    "both": b'{"instances":[' + b"[{}]," * (MEBIBYTE // 2 + 1) + b"1]}",
    "records": b'{"dataframe_records":[' + b"{}," * (MEBIBYTE + 1) + b'{"x":1}]}',
    "a list of records": b"[" + b"{}," * (MEBIBYTE + 1) + b'{"x":1}]',
    "rows": b'{"dataframe_split":{"columns":["x"],"data":[' + EMPTY_LISTS + b"[1]]}}",
    "rows without columns": b'{"dataframe_split":{"data":[' + EMPTY_LISTS + b"[]]}}",
    "an index": b'{"dataframe_split":{"columns":["x"],"data":[[1]],"index":[' + EMPTY_LISTS + b"1]}}",
    "params": b'{"inputs":[1],"params":{"p":[' + EMPTY_LISTS + b"1]}}",
    "messages": b'{"messages":[' + b"{}," * (MEBIBYTE + 1) + b"{}]}",
    "beside NaN": b'{"inputs":[NaN,' + EMPTY_LISTS + b"1]}",
    "beside a long integer": b'{"inputs":[18446744073709551617,' + EMPTY_LISTS + b"1]}",
    "UTF-16": ('{"inputs":[' + "[]," * (MEBIBYTE + 1) + "1]}").encode("utf-16"),
    "beside strings": b'{"inputs":["\\"[\\\\",' + EMPTY_LISTS + b'"[["]}',
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("checks", ["strict", "mlflow"])
def test_too_many_lists_and_objects(body: bytes, checks: InputChecks) -> None:
    """The error names their number and the limit; nothing is built, also with MLflow's own checks."""
    for schema in (None, DOUBLE):
        error = decode_error(body, schema, checks=checks)
        assert "lists and objects; one of its size may have at most 1048576. Send fewer" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        V2_TENSOR % (b"FP64", EMPTY_LISTS, b""),
        V2_TENSOR % (b"FP64", b"1,", b',"parameters":{"p":[' + EMPTY_LISTS + b"1]}"),
        b'{"inputs":[' + b"{}," * (MEBIBYTE + 1) + b"{}]}",
        V2_TENSOR % (b"FP64", b"1,", b"") + b" " * 14 * MEBIBYTE,
    ],
)
def test_an_open_inference_body(body: bytes) -> None:
    """Its JSON has the same limits; spaces raise them, but only to what the size is worth."""
    with pytest.raises(InvalidInput) as caught:
        formats.decode(Job(body, OPEN_INFERENCE, OPEN_INFERENCE), input_spec(DOUBLE))
    assert ("lists and objects" in str(caught.value)) == (b"   " not in body)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'x\n"[' + EMPTY_LISTS + b'1]"\n', CSV),
        (b"x\n" + b"[]\n" * (MEBIBYTE + 1), CSV),
        (b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["[' + EMPTY_LISTS + b'1]"]}]}',
         OPEN_INFERENCE),
        (b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[2],"data":[' + b'"[]",' * (MEBIBYTE + 1)
         + b'"[]"]}]}', OPEN_INFERENCE),
    ],
)  # fmt: skip
def test_json_in_cells(body: bytes, content_type: str) -> None:
    """What is JSON in the cells of CSV, or in texts of Open Inference, counts."""
    with pytest.raises(InvalidInput, match="lists and objects"):
        formats.decode(Job(body, content_type), input_spec(column(Array(AnyType()))))


def test_a_string_without_an_end_takes_no_time() -> None:
    """The search for strings is linear, whatever the body: with a quadratic one this would take an hour."""
    body = b"[" * (MEBIBYTE + 10) + b'"' + b'\\"' * 1_000_000
    with pytest.raises(InvalidInput, match="lists and objects"):
        check_structure(body)


def test_what_is_in_strings_does_not_count() -> None:
    """Texts may hold any number of brackets, and escaped quotes."""
    text = '["[{\\' * (MEBIBYTE // 2)
    assert decode({"inputs": [text, "x"]}, column(DataType.string)).data["x"].tolist() == [text, "x"]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [MEBIBYTE - 2, MEBIBYTE + 10_000])
def test_the_limit_grows_with_the_body(rows: int) -> None:
    """Below a million rows any are accepted; above, rows that take a little more than sixteen bytes each."""
    body = b'{"dataframe_split":{"columns":["x"],"data":[' + b"[0.123456789123]," * rows + b"[null]]}}"
    assert decode(body, DOUBLE).data.shape == (rows + 1, 1)


@pytest.mark.parametrize(
    ("body", "schema"),
    [
        (b'{"inputs":[' + b"1," * 50_000 + b"1]}", Schema([TensorSpec(np.dtype(str), (-1,))])),
        (b'{"inputs":[' + b'"a",' * 50_000 + b"1]}", DOUBLE),
        (b'{"instances":[' + b"[1]," * 50_000 + b"[1]]}", column(Array(Array(DataType.double)))),
        (b'{"dataframe_records":[' + b"1," * 50_000 + b"1]}", DOUBLE),
        (b'{"dataframe_split":{"columns":["x"],"data":[' + b"[1,2]," * 50_000 + b"[1]]}}", DOUBLE),
        (b'{"dataframe_split":{"columns":["x"],"data":[' + b"1," * 50_000 + b"1]}}", DOUBLE),
        (b'{"dataframe_split":{"columns":["x"],"data":[' + b"[[]]," * 50_000 + b"[1]]}}", DOUBLE),
    ],
)
def test_problems_are_counted_to_a_thousand(body: bytes, schema: Schema) -> None:
    """Each takes a hundred times the memory of its cell; the error says that there are more."""
    error = decode_error(body, schema)
    assert "There are more than 995 more than the details name." in str(error)
    assert [problem.row for problem in error.details] == [0, 1, 2, 3, 4]


WIDE_ROW: dict[str, Any] = {
    "float": 1.5,
    "int": 1,
    "null": None,
    "text": "a",
    "flag": True,
    "unsigned": 2**63,
    "list": [1],
}


@pytest.mark.parametrize("rows", [1, 3])
def test_a_wide_table_without_signature(rows: int) -> None:
    """Its columns have the types that those of a narrow table have."""
    names = [f"{kind}{number}" for number in range(200) for kind in WIDE_ROW]
    row = list(WIDE_ROW.values()) * 200
    data = [row, *([None if name.startswith("float") else cell for name, cell in zip(names, row, strict=True)]
                   for _ in range(rows - 1))]  # fmt: skip
    wide = model_input({"dataframe_split": {"columns": names, "data": data}}, None)
    for start in range(0, len(names), 700):
        part = {"columns": names[start : start + 700], "data": [each[start : start + 700] for each in data]}
        narrow = model_input({"dataframe_split": part}, None)
        assert wide.iloc[:, start : start + 700].dtypes.tolist() == narrow.dtypes.tolist()
        assert json.dumps(wide.iloc[:, start : start + 700].to_numpy().tolist()) == json.dumps(
            narrow.to_numpy().tolist()
        )
    assert wide.columns.tolist() == names


def test_a_wide_table_without_rows() -> None:
    """It has columns of objects, as a narrow one."""
    frame = model_input({"dataframe_split": {"columns": [f"c{at}" for at in range(2000)], "data": []}}, None)
    assert frame.shape == (0, 2000)
    assert {*map(str, frame.dtypes)} == {"object"}


@pytest.mark.parametrize(
    ("row", "problem"),
    [([1] * 100_001, "100001 columns; without"), (["a"] * 10_001, "10001 columns that are not numbers")],
)
def test_a_table_that_is_too_wide(row: list[object], problem: str) -> None:
    """Without a signature the number of columns is limited, because each takes kilobytes."""
    records = {f"c{at}": cell for at, cell in enumerate(row)}
    for payload in ({"dataframe_split": {"data": [row]}}, {"dataframe_records": [records]}):
        assert problem in str(decode_error(payload, None))


@pytest.mark.parametrize(
    "row", [[1] * 100_001, {f"c{at}": 1 for at in range(100_001)}], ids=["list", "object"]
)
def test_a_table_that_is_too_wide_for_mlflow(row: object) -> None:
    """The limit of columns holds with MLflow's own checks too."""
    form = {"dataframe_split": {"data": [row]}} if isinstance(row, list) else {"dataframe_records": [row]}
    assert "100001 columns; without" in str(decode_error(form, None, checks="mlflow"))


@pytest.mark.parametrize("checks", ["strict", "mlflow"])
def test_objects_that_become_arrays(checks: InputChecks) -> None:
    """The number of the values in `inputs` is limited if each becomes an array of its own."""
    body = b'{"inputs":[' + b'{"x":1},' * 500_000 + b'{"x":1}]}'
    assert "have 500001 values, and each becomes an array" in str(decode_error(body, None, checks=checks))
    assert len(decode({"inputs": [{"x": 1}] * 1001}, None, checks=checks).data) == 1001
