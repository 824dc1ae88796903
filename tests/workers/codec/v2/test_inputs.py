"""Open Inference tensors give the model the same input as the same values in MLflow's JSON."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mlflow.models.utils import _enforce_schema
from mlflow.types.schema import (
    AnyType,
    Array,
    ColSpec,
    DataType,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    TensorSpec,
)
from pandas.testing import assert_frame_equal

from tests.support.codec import specs
from tests.support.codec.specs import SENTINEL, column, columns
from tests.support.codec.v2_bodies import (
    DTYPES,
    binary_tensor,
    decode,
    decode_error,
    make_job,
    model_input,
    tensor,
)
from workers.codec import formats
from workers.errors import InvalidInput

NUMBERS = sorted(DTYPES)
EXTREMES = {
    **{f"INT{bits}": [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": [0, 2**bits - 1] for bits in (8, 16, 32, 64)},
    "FP16": [65504.0, -65504.0],
    "FP32": [3.4028234663852886e38, 1e-45],
    "FP64": [1.7976931348623157e308, 5e-324],
    "BOOL": [True, False],
}


def tensors(dtype: str, shape: tuple[int, ...], name: str | None = None) -> Schema:
    return Schema([TensorSpec(np.dtype(dtype), shape, name)])


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("form", ["flat", "nested", "binary"])
def test_every_datatype(datatype: str, form: str) -> None:
    """The extremes of each datatype arrive exactly, in a writable array of the same dtype."""
    values = np.array([EXTREMES[datatype], EXTREMES[datatype][::-1]], dtype=DTYPES[datatype])
    in_json = values.ravel().tolist() if form == "flat" else values.tolist()
    sent = (
        binary_tensor("x", datatype, values) if form == "binary" else tensor("x", datatype, in_json, [2, 2])
    )
    actual = model_input(sent, schema=tensors(DTYPES[datatype], (-1, 2)))
    assert actual.dtype == values.dtype
    assert actual.flags.writeable
    np.testing.assert_array_equal(actual, values)
    np.testing.assert_array_equal(model_input(sent, schema=None), values)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT8", 128),
        ("UINT8", -1),
        ("UINT64", 2**64),
        ("INT64", 2**63),
        ("INT32", 1.5),
        ("INT32", True),
        ("FP16", 1e5),
        ("FP32", 1e39),
        ("FP64", 2**53 + 1),
        ("FP64", "1.5"),
        ("BOOL", 1),
        ("BOOL", None),
        ("INT16", None),
        ("BYTES", 5),
        ("BYTES", ["a"]),
        ("FP64", True),
    ],
)
def test_not_of_the_datatype(datatype: str, value: Any) -> None:
    """A value that does not fit the datatype is rejected with its input and row."""
    good = "a" if datatype == "BYTES" else True if datatype == "BOOL" else 1
    problem = decode_error(tensor("x", datatype, [good, good, value]), schema=None).details[0]
    assert (problem.row, problem.column) == (2, "x")


ARRAYS = st.sampled_from(NUMBERS).flatmap(
    lambda datatype: st.tuples(
        st.just(datatype),
        arrays.arrays(
            np.dtype(DTYPES[datatype]),
            arrays.array_shapes(max_dims=3, min_side=0, max_side=4),
            elements={"allow_infinity": False, "allow_subnormal": True}
            if datatype.startswith("FP")
            else None,
        ),
    )
)


@given(ARRAYS)
def test_json_and_binary_are_equal(drawn: tuple[str, Any]) -> None:
    """Any array arrives unchanged in both forms."""
    datatype, array = drawn
    values = [None if value != value else value for value in array.ravel().tolist()]  # noqa: PLR0124 - NaN
    for sent in (tensor("x", datatype, values, list(array.shape)), binary_tensor("x", datatype, array)):
        actual = model_input(sent, schema=None)
        assert (actual.dtype, actual.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(actual, array)


@given(
    st.sampled_from([name for name in NUMBERS if name != "BOOL"]),
    st.sampled_from([DataType.integer, DataType.long, DataType.float, DataType.double, DataType.boolean]),
    st.data(),
)
def test_numbers_in_columns_as_in_json(datatype: str, mlflow_type: DataType, draw: Any) -> None:
    """Numbers for a column are accepted or rejected as the same numbers in `dataframe_split` are."""
    dtype = np.dtype(DTYPES[datatype])
    finite = {"allow_infinity": False} if dtype.kind == "f" else None
    array = draw.draw(arrays.arrays(dtype, st.integers(1, 4), elements=finite))
    values = [None if value != value else value for value in array.tolist()]  # noqa: PLR0124 - NaN
    try:
        expected = specs.model_input(specs.split_body(values), column(mlflow_type))
    except InvalidInput:
        expected = None
    for sent in (tensor("x", datatype, values), binary_tensor("x", datatype, array.reshape(-1, 1))):
        if expected is None:
            decode_error(sent, schema=column(mlflow_type))
        else:
            assert_frame_equal(
                _enforce_schema(model_input(sent, schema=column(mlflow_type)), column(mlflow_type)), expected
            )


def test_a_table_of_every_column_type() -> None:
    """One input per column gives the frame of the same records in JSON."""
    schema = columns(
        (DataType.boolean, "open"),
        (DataType.integer, "small"),
        (DataType.long, "count"),
        (DataType.float, "thin"),
        (DataType.double, "size"),
        (DataType.string, "name"),
        (DataType.binary, "raw"),
        (DataType.datetime, "since"),
        (Array(DataType.long), "many"),
        (Object([Property("k", DataType.string)]), "cell"),
        (AnyType(), "any"),
    )
    values: dict[str, list[Any]] = {
        "open": [True, False],
        "small": [1, -1],
        "count": [2**60 + 1, 0],
        "thin": [0.5, None],
        "size": [0.1, None],
        "name": ["a", None],
        "raw": ["aGk=", None],
        "since": ["2024-01-02T03:04:05Z", None],
        "many": [[1, 2], []],
        "cell": [{"k": "v"}, {"k": ""}],
        "any": [1, 2],
    }
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    expected = specs.model_input({"dataframe_records": rows}, schema)
    texts = {name: [json.dumps(value) for value in values[name]] for name in ("many", "cell", "any")}
    types = {"open": "BOOL", "small": "INT32", "count": "INT64", "thin": "FP32", "size": "FP64"}
    sent = [
        tensor(name, types.get(name, "BYTES"), texts.get(name, values)) for name, values in values.items()
    ]
    assert_frame_equal(_enforce_schema(model_input(*sent[::-1], schema=schema), schema), expected)
    assert_frame_equal(model_input(*sent, schema=schema), model_input(*sent[::-1], schema=schema))


def test_bytes_in_binary() -> None:
    """Raw BYTES are UTF-8, ISO 8601 or JSON by the column, raw bytes for binary, base64 only if declared."""
    schema = columns(
        (DataType.string, "s"), (DataType.binary, "b"), (DataType.datetime, "d"), (AnyType(), "j")
    )
    actual = model_input(
        binary_tensor("s", "BYTES", ["ö".encode(), b""]),
        binary_tensor("b", "BYTES", [b"aGk=", b"\xff"]),
        binary_tensor("d", "BYTES", [b"2024-01-02", b"2024-01-02T03:04:05+01:00"]),
        binary_tensor("j", "BYTES", [b"[1]", b"null"]),
        schema=schema,
    )
    assert actual["s"].tolist() == ["ö", ""]
    assert actual["b"].tolist() == [b"aGk=", b"\xff"]
    assert actual["d"].tolist() == [pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-02T02:04:05")]
    assert actual["j"].tolist() == [[1], None]
    decoded = model_input(
        binary_tensor("x", "BYTES", [b"aGk="], content_type="base64"), schema=column(DataType.binary)
    )
    assert decoded["x"].tolist() == [b"hi"]
    assert (
        decode_error(binary_tensor("x", "BYTES", [b"\xff"]), schema=column(DataType.string)).details[0].reason
        == "not UTF-8"
    )


@pytest.mark.parametrize(("unit", "factor"), [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)])
def test_times_as_numbers(unit: str, factor: int) -> None:
    """INT64 since 1970 in a declared unit are datetimes, unless nanoseconds cannot hold them."""
    most = (2**63 - 1) // factor
    actual = model_input(tensor("x", "INT64", [0, -1, most], unit=unit), schema=column(DataType.datetime))
    assert actual["x"].to_numpy().view("int64").tolist() == [0, -factor, most * factor]
    for beyond in {min(most + 1, 2**63 - 1), -(2**63)} - {most}:
        problem = decode_error(
            tensor("x", "INT64", [0, beyond], unit=unit), schema=column(DataType.datetime)
        ).details[0]
        assert problem.row == 1


@pytest.mark.parametrize(
    "sent",
    [
        tensor("x", "INT64", [5]),
        tensor("x", "FP64", [5.0], unit="s"),
        tensor("x", "BYTES", ["5"]),
        tensor("x", "BYTES", ["2024-01-02"], unit="s"),
    ],
)
def test_numbers_without_a_unit(sent: Any) -> None:
    """A number without a unit, and other types with one, are no datetimes."""
    decode_error(sent, schema=column(DataType.datetime))


def test_unknown_and_missing_inputs() -> None:
    """Unknown and missing inputs are rejected by name, and so are inputs of different lengths."""
    schema = columns((DataType.double, "a"), (DataType.double, "b"))
    problems = decode_error(tensor("a", "FP64", [1.5]), tensor("c", "FP64", [1.5]), schema=schema).details
    assert [(problem.column, problem.reason) for problem in problems] == [
        ("c", "not a column of the signature"),
        ("b", "missing"),
    ]
    error = decode_error(tensor("a", "FP64", [1.5]), tensor("b", "FP64", [1.5, 2.5]), schema=schema)
    assert "[1, 2]" in str(error)
    assert "one value per row" in str(
        decode_error(tensor("x", "FP64", [1.0, 2.0], [1, 2]), schema=column(DataType.double))
    )


def test_optional_columns() -> None:
    """Optional columns may be absent; a column of nulls alone is omitted if its type cannot hold null."""
    schema = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.long, "b", required=False)])
    alone = model_input(tensor("a", "FP64", [1.5]), schema=schema)
    assert list(alone.columns) == ["a"]
    assert_frame_equal(
        model_input(tensor("a", "FP64", [1.5]), tensor("b", "FP64", [None]), schema=schema), alone
    )
    decode_error(tensor("a", "FP64", [1.5, 2.5]), tensor("b", "FP64", [None, 1]), schema=schema)


def test_nameless_columns() -> None:
    """Unnamed columns are `input-0`, `input-1`, … in any order, or one matrix; a single one has any name."""
    schema = columns((DataType.long, None), (DataType.string, None))
    by_name = model_input(tensor("input-1", "BYTES", ["a"]), tensor("input-0", "INT64", [5]), schema=schema)
    assert by_name.to_numpy().tolist() == [[5, "a"]]
    pair = columns((DataType.long, None), (DataType.double, None))
    assert model_input(tensor("any", "INT64", [1, 2, 3, 4], [2, 2]), schema=pair).to_numpy().tolist() == [
        [1, 2],
        [3, 4],
    ]
    problems = decode_error(
        tensor("input-0", "INT64", [5]), tensor("x", "BYTES", ["a"]), schema=schema
    ).details
    assert {(problem.column, problem.reason) for problem in problems} == {
        ("x", "not an input of the model"),
        ("input-1", "missing"),
    }
    assert model_input(
        tensor("any", "INT64", [1]), schema=columns((DataType.long, None))
    ).to_numpy().tolist() == [[1]]
    decode_error(tensor("any", "INT64", [1, 2, 3], [1, 3]), schema=pair)


def test_content_types_of_the_request() -> None:
    """Without a signature `pd`, `np`, `dict` and `str` mean what they mean in MLServer."""
    pair = [tensor("a", "INT64", [1, 2]), tensor("b", "BYTES", ["x", "y"])]
    assert_frame_equal(model_input(*pair, schema=None), pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    by_name = model_input(*pair, schema=None, parameters={"content_type": "dict"})
    assert {name: array.tolist() for name, array in by_name.items()} == {"a": [1, 2], "b": ["x", "y"]}
    assert model_input(pair[0], schema=None).tolist() == [1, 2]
    assert model_input(pair[1], schema=None, parameters={"content_type": "str"}) == ["x", "y"]
    one = model_input(pair[0], schema=None, parameters={"content_type": "pd"})
    assert_frame_equal(one, pd.DataFrame({"a": [1, 2]}))
    for content_type in ("np", "str"):
        assert "'b'" in str(decode_error(*pair, schema=None, parameters={"content_type": content_type}))


def test_content_types_and_signatures() -> None:
    """The input fits the signature for every content type."""
    schema = columns((DataType.string, "s"))
    texts = tensor("s", "BYTES", ["a", None])
    for content_type in ("pd", "dict", "str", "np"):
        actual = model_input(texts, schema=schema, parameters={"content_type": content_type})
        assert_frame_equal(actual, model_input(texts, schema=schema))
    spec = tensors("float32", (-1, 2))
    values = tensor("x", "FP64", [0.5, 1.5], [1, 2])
    assert model_input(values, schema=spec, parameters={"content_type": "np"}).dtype == np.float32
    table = [tensor("a", "FP64", [0.5]), tensor("b", "FP64", [1.5])]
    assert model_input(*table, schema=spec, parameters={"content_type": "pd"}).tolist() == [[0.5, 1.5]]


def test_tensor_signatures() -> None:
    """Named tensors match by name, an unnamed one matches any; shapes and dtypes are the signature's."""
    schema = Schema([TensorSpec(np.dtype("str"), (-1,), "a"), TensorSpec(np.dtype("int64"), (-1, 1), "x")])
    actual = model_input(
        tensor("a", "BYTES", ["p", "q"], [2, 1]), tensor("x", "INT8", [1, 2], [2, 1]), schema=schema
    )
    assert (actual["a"].tolist(), actual["x"].tolist(), actual["x"].dtype) == (
        ["p", "q"],
        [[1], [2]],
        np.int64,
    )
    problems = decode_error(tensor("a", "BYTES", ["p"]), tensor("y", "INT8", [1]), schema=schema).details
    assert [problem.column for problem in problems] == ["y", "x"]
    assert (
        model_input(tensor("q", "FP64", [0.5, 1.5], [1, 2]), schema=tensors("float32", (-1, 2))).dtype
        == np.float32
    )
    assert model_input(tensor("q", "INT8", [], [0, 2]), schema=tensors("float32", (-1, 2))).shape == (0, 2)
    times = model_input(tensor("q", "INT64", [5], unit="s"), schema=tensors("datetime64[ns]", (-1,)))
    assert times.tolist() == [5_000_000_000]
    for bad in (
        tensor("q", "FP64", [1e300], [1, 1]),
        tensor("q", "FP64", [1.0], [1]),
        tensor("q", "BYTES", ["a"], [1, 1]),
    ):
        decode_error(bad, schema=tensors("float32", (-1, 1)))
    decode_error(tensor("q", "FP64", [1.5], [1, 1]), schema=tensors("int64", (-1, 1)))
    decode_error(
        tensor("q", "FP64", [1.0], [1, 1]),
        tensor("r", "FP64", [1.0], [1, 1]),
        schema=tensors("int64", (-1, 1)),
    )


def test_errors_repeat_no_value() -> None:
    """No error repeats the value that it rejects."""
    for content_type in (None, "str", "pd_json", "base64"):
        more: dict[str, Any] = {} if content_type is None else {"content_type": content_type}
        for mlflow_type in (
            DataType.double,
            DataType.binary,
            DataType.datetime,
            Array(DataType.long),
            AnyType(),
        ):
            for value in (f"{SENTINEL}{{", f'["{SENTINEL}"]'):
                if mlflow_type != AnyType() or (content_type != "str" and value.endswith("{")):
                    decode_error(tensor("x", "BYTES", [value], **more), schema=column(mlflow_type))


def test_infinities_only_in_binary() -> None:
    """An infinite double stays infinite; it is rejected for integers."""
    actual = model_input(binary_tensor("x", "FP64", [np.inf, np.nan]), schema=column(DataType.float))
    np.testing.assert_array_equal(actual["x"], np.array([np.inf, np.nan], dtype=np.float32))
    decode_error(binary_tensor("x", "FP64", [np.inf]), schema=column(DataType.long))


def test_params() -> None:
    """Parameters that are not the protocol's are params of the model, checked against its signature."""
    schema = ParamSchema([ParamSpec("p", DataType.long, 1), ParamSpec("timeout", DataType.double, 1.0)])
    body = make_job(
        tensor("x", "FP64", [1.5]),
        parameters={
            "content_type": "pd",
            "binary_data_output": False,
            "priority": 1,
            "headers": {},
            "triton_x": 1,
            "p": 5,
            "timeout": 2.5,
        },
    )
    spec = specs.input_spec(column(DataType.double), params=schema)
    assert formats.decode(body, spec).params == {"p": 5, "timeout": 2.5}
    assert decode(tensor("x", "FP64", [1.5]), schema=None, parameters={"timeout": 5}).params is None
    for wrong in ({"p": 1.5}, {"q": 1}, {"sequence_id": 3}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            formats.decode(make_job(tensor("x", "FP64", [1.5]), parameters=wrong), spec)


def test_mlflows_own_checks() -> None:
    """With `mlflow` checks the frame has the tensors unchecked, and MLflow checks it in `predict`."""
    schema = columns((DataType.long, "a"), (DataType.string, "s"))
    spec = specs.input_spec(schema, checks="mlflow")
    sent = [tensor("s", "BYTES", ["x"]), tensor("a", "INT32", [5]), tensor("other", "FP64", [1.5])]
    actual = formats.decode(make_job(*sent, parameters={"q": 1}), spec)
    assert actual.params == {"q": 1}
    assert list(actual.data.columns) == ["s", "a", "other"]
    assert _enforce_schema(actual.data, schema).to_dict("list") == {"a": [5], "s": ["x"]}


def test_base64_texts_without_signature() -> None:
    """Without a signature BYTES are text unless their content type is base64."""
    raw = base64.b64encode(b"\xff").decode()
    assert model_input(tensor("x", "BYTES", [raw, None], content_type="base64"), schema=None).tolist() == [
        b"\xff",
        None,
    ]
    decode_error(tensor("x", "BYTES", ["%"], content_type="base64"), schema=None)
    decode_error(tensor("x", "BYTES", ["{"], content_type="pd_json"), schema=None)


@pytest.mark.parametrize(
    ("mlflow_type", "sent", "expected"),
    [
        (DataType.long, tensor("x", "INT64", [1, 2**60 + 1]), [1, 2**60 + 1]),
        (DataType.double, binary_tensor("x", "FP64", [1.5, np.nan]), [1.5, None]),
        (DataType.string, binary_tensor("x", "BYTES", [b"a"]), ["a"]),
        (DataType.binary, binary_tensor("x", "BYTES", [b"hi"]), ["aGk="]),
        (DataType.binary, tensor("x", "BYTES", ["aGk="]), ["aGk="]),
        (DataType.datetime, tensor("x", "BYTES", ["2024-01-02"]), ["2024-01-02"]),
        (DataType.datetime, tensor("x", "INT64", [5], unit="s"), ["1970-01-01T00:00:05.000000000"]),
        (Object([Property("k", DataType.long)]), tensor("x", "BYTES", ['{"k": 1}']), [{"k": 1}]),
        (Array(DataType.long), tensor("x", "INT64", [1, 2], [1, 2]), [[1, 2]]),
    ],
)
def test_type_hints(mlflow_type: Any, sent: Any, expected: list[Any]) -> None:
    """A model with type hints gets the list that MLflow's `inputs` has; it checks the list itself."""
    spec = dataclasses.replace(specs.input_spec(columns((mlflow_type, None))), type_hinted=True)
    assert formats.decode(make_job(sent), spec).data == expected
    with pytest.raises(InvalidInput, match="'y'"):
        formats.decode(make_job(sent, tensor("y", "INT64", [1])), spec)
