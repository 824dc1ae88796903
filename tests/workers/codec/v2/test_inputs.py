"""Open Inference tensors become the same input as the same values in MLflow's JSON, or are refused."""

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
    """The extremes of each come through exactly, in the array's own type, writable."""
    values = np.array([EXTREMES[datatype], EXTREMES[datatype][::-1]], dtype=DTYPES[datatype])
    listed = values.ravel().tolist() if form == "flat" else values.tolist()
    given_ = (
        binary_tensor("x", datatype, values) if form == "binary" else tensor("x", datatype, listed, [2, 2])
    )
    made = model_input(given_, schema=tensors(DTYPES[datatype], (-1, 2)))
    assert made.dtype == values.dtype
    assert made.flags.writeable
    np.testing.assert_array_equal(made, values)
    np.testing.assert_array_equal(model_input(given_, schema=None), values)


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
    """Refused with the input and the row."""
    good = "a" if datatype == "BYTES" else True if datatype == "BOOL" else 1
    cell = decode_error(tensor("x", datatype, [good, good, value]), schema=None).details[0]
    assert (cell.row, cell.column) == (2, "x")


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
def test_json_and_binary_are_one(made: tuple[str, Any]) -> None:
    """Any array gives the same model input in both forms: itself."""
    datatype, array = made
    listed = [None if value != value else value for value in array.ravel().tolist()]  # noqa: PLR0124 - NaN
    for given_ in (tensor("x", datatype, listed, list(array.shape)), binary_tensor("x", datatype, array)):
        got = model_input(given_, schema=None)
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(got, array)


@given(
    st.sampled_from([name for name in NUMBERS if name != "BOOL"]),
    st.sampled_from([DataType.integer, DataType.long, DataType.float, DataType.double, DataType.boolean]),
    st.data(),
)
def test_numbers_in_columns_as_in_json(datatype: str, kind: DataType, draw: Any) -> None:
    """A tensor's values for a column are taken or refused as the same values in `dataframe_split` are."""
    dtype = np.dtype(DTYPES[datatype])
    finite = {"allow_infinity": False} if dtype.kind == "f" else None
    array = draw.draw(arrays.arrays(dtype, st.integers(1, 4), elements=finite))
    listed = [None if value != value else value for value in array.tolist()]  # noqa: PLR0124 - NaN
    try:
        expected = specs.model_input(specs.split_body(listed), column(kind))
    except InvalidInput:
        expected = None
    for given_ in (tensor("x", datatype, listed), binary_tensor("x", datatype, array.reshape(-1, 1))):
        if expected is None:
            decode_error(given_, schema=column(kind))
        else:
            assert_frame_equal(
                _enforce_schema(model_input(given_, schema=column(kind)), column(kind)), expected
            )


def test_a_table_of_every_column_type() -> None:
    """One input per column, in the order of the signature, each of its type and exact."""
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
    listed: dict[str, list[Any]] = {
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
    rows = [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]
    expected = specs.model_input({"dataframe_records": rows}, schema)
    texts = {name: [json.dumps(value) for value in listed[name]] for name in ("many", "cell", "any")}
    types = {"open": "BOOL", "small": "INT32", "count": "INT64", "thin": "FP32", "size": "FP64"}
    given_ = [
        tensor(name, types.get(name, "BYTES"), texts.get(name, values)) for name, values in listed.items()
    ]
    assert_frame_equal(_enforce_schema(model_input(*given_[::-1], schema=schema), schema), expected)
    assert_frame_equal(model_input(*given_, schema=schema), model_input(*given_[::-1], schema=schema))


def test_bytes_in_binary() -> None:
    """Text is UTF-8, bytes are themselves, base64 only where that is said; ISO 8601 and JSON as text."""
    schema = columns(
        (DataType.string, "s"), (DataType.binary, "b"), (DataType.datetime, "d"), (AnyType(), "j")
    )
    made = model_input(
        binary_tensor("s", "BYTES", ["ö".encode(), b""]),
        binary_tensor("b", "BYTES", [b"aGk=", b"\xff"]),
        binary_tensor("d", "BYTES", [b"2024-01-02", b"2024-01-02T03:04:05+01:00"]),
        binary_tensor("j", "BYTES", [b"[1]", b"null"]),
        schema=schema,
    )
    assert made["s"].tolist() == ["ö", ""]
    assert made["b"].tolist() == [b"aGk=", b"\xff"]
    assert made["d"].tolist() == [pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-02T02:04:05")]
    assert made["j"].tolist() == [[1], None]
    said = model_input(
        binary_tensor("x", "BYTES", [b"aGk="], content_type="base64"), schema=column(DataType.binary)
    )
    assert said["x"].tolist() == [b"hi"]
    assert (
        decode_error(binary_tensor("x", "BYTES", [b"\xff"]), schema=column(DataType.string)).details[0].reason
        == "not UTF-8"
    )


@pytest.mark.parametrize(("unit", "factor"), [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)])
def test_times_as_numbers(unit: str, factor: int) -> None:
    """INT64 since 1970 in a unit that is named; what nanoseconds cannot hold is refused."""
    most = (2**63 - 1) // factor
    made = model_input(tensor("x", "INT64", [0, -1, most], unit=unit), schema=column(DataType.datetime))
    assert made["x"].to_numpy().view("int64").tolist() == [0, -factor, most * factor]
    for beyond in {min(most + 1, 2**63 - 1), -(2**63)} - {most}:
        cell = decode_error(
            tensor("x", "INT64", [0, beyond], unit=unit), schema=column(DataType.datetime)
        ).details[0]
        assert cell.row == 1


@pytest.mark.parametrize(
    "given_",
    [
        tensor("x", "INT64", [5]),
        tensor("x", "FP64", [5.0], unit="s"),
        tensor("x", "BYTES", ["5"]),
        tensor("x", "BYTES", ["2024-01-02"], unit="s"),
    ],
)
def test_no_time_is_guessed(given_: Any) -> None:
    """A number without a unit is no datetime."""
    decode_error(given_, schema=column(DataType.datetime))


def test_inputs_are_named() -> None:
    """Unknown and missing inputs are refused, each with its name; other lengths too."""
    schema = columns((DataType.double, "a"), (DataType.double, "b"))
    found = decode_error(tensor("a", "FP64", [1.5]), tensor("c", "FP64", [1.5]), schema=schema).details
    assert [(cell.column, cell.reason) for cell in found] == [
        ("c", "not a column of the signature"),
        ("b", "missing"),
    ]
    error = decode_error(tensor("a", "FP64", [1.5]), tensor("b", "FP64", [1.5, 2.5]), schema=schema)
    assert "[1, 2]" in str(error)
    assert "one value per row" in str(
        decode_error(tensor("x", "FP64", [1.0, 2.0], [1, 2]), schema=column(DataType.double))
    )


def test_optional_columns() -> None:
    """They may be missing, and a column of nulls alone is left out where its type cannot hold them."""
    schema = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.long, "b", required=False)])
    alone = model_input(tensor("a", "FP64", [1.5]), schema=schema)
    assert list(alone.columns) == ["a"]
    assert_frame_equal(
        model_input(tensor("a", "FP64", [1.5]), tensor("b", "FP64", [None]), schema=schema), alone
    )
    decode_error(tensor("a", "FP64", [1.5, 2.5]), tensor("b", "FP64", [None, 1]), schema=schema)


def test_nameless_columns() -> None:
    """They are `input-0`, … in any order, or one table; a single one may have any name."""
    schema = columns((DataType.long, None), (DataType.string, None))
    by_name = model_input(tensor("input-1", "BYTES", ["a"]), tensor("input-0", "INT64", [5]), schema=schema)
    assert by_name.to_numpy().tolist() == [[5, "a"]]
    pair = columns((DataType.long, None), (DataType.double, None))
    assert model_input(tensor("any", "INT64", [1, 2, 3, 4], [2, 2]), schema=pair).to_numpy().tolist() == [
        [1, 2],
        [3, 4],
    ]
    found = decode_error(tensor("input-0", "INT64", [5]), tensor("x", "BYTES", ["a"]), schema=schema).details
    assert {(cell.column, cell.reason) for cell in found} == {
        ("x", "not an input of the model"),
        ("input-1", "missing"),
    }
    assert model_input(
        tensor("any", "INT64", [1]), schema=columns((DataType.long, None))
    ).to_numpy().tolist() == [[1]]
    decode_error(tensor("any", "INT64", [1, 2, 3], [1, 3]), schema=pair)


def test_content_types_of_the_request() -> None:
    """`pd`, `np`, `dict` and `str` as MLServer has them, where there is no signature."""
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
    """The signature is held to whatever the content type is."""
    schema = columns((DataType.string, "s"))
    texts = tensor("s", "BYTES", ["a", None])
    for content_type in ("pd", "dict", "str", "np"):
        made = model_input(texts, schema=schema, parameters={"content_type": content_type})
        assert_frame_equal(made, model_input(texts, schema=schema))
    spec = tensors("float32", (-1, 2))
    values = tensor("x", "FP64", [0.5, 1.5], [1, 2])
    assert model_input(values, schema=spec, parameters={"content_type": "np"}).dtype == np.float32
    table = [tensor("a", "FP64", [0.5]), tensor("b", "FP64", [1.5])]
    assert model_input(*table, schema=spec, parameters={"content_type": "pd"}).tolist() == [[0.5, 1.5]]


def test_tensor_signatures() -> None:
    """Named ones by name, a nameless one by any; shapes and types are the signature's."""
    schema = Schema([TensorSpec(np.dtype("str"), (-1,), "a"), TensorSpec(np.dtype("int64"), (-1, 1), "x")])
    made = model_input(
        tensor("a", "BYTES", ["p", "q"], [2, 1]), tensor("x", "INT8", [1, 2], [2, 1]), schema=schema
    )
    assert (made["a"].tolist(), made["x"].tolist(), made["x"].dtype) == (["p", "q"], [[1], [2]], np.int64)
    found = decode_error(tensor("a", "BYTES", ["p"]), tensor("y", "INT8", [1]), schema=schema).details
    assert [cell.column for cell in found] == ["y", "x"]
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


def test_values_are_not_said_back() -> None:
    """Whatever a value is refused for, the refusal does not hold it."""
    for content_type in (None, "str", "pd_json", "base64"):
        more: dict[str, Any] = {} if content_type is None else {"content_type": content_type}
        for kind in (DataType.double, DataType.binary, DataType.datetime, Array(DataType.long), AnyType()):
            for value in (f"{SENTINEL}{{", f'["{SENTINEL}"]'):
                if kind != AnyType() or (content_type != "str" and value.endswith("{")):
                    decode_error(tensor("x", "BYTES", [value], **more), schema=column(kind))


def test_infinities_only_in_binary() -> None:
    """A double that is infinite stays so; it is no integer."""
    made = model_input(binary_tensor("x", "FP64", [np.inf, np.nan]), schema=column(DataType.float))
    np.testing.assert_array_equal(made["x"], np.array([np.inf, np.nan], dtype=np.float32))
    decode_error(binary_tensor("x", "FP64", [np.inf]), schema=column(DataType.long))


def test_params() -> None:
    """Parameters beside the protocol's own are the model's params, held against its signature."""
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
    held = specs.input_spec(column(DataType.double), params=schema)
    assert formats.decode(body, held).params == {"p": 5, "timeout": 2.5}
    assert decode(tensor("x", "FP64", [1.5]), schema=None, parameters={"timeout": 5}).params is None
    for wrong in ({"p": 1.5}, {"q": 1}, {"sequence_id": 3}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            formats.decode(make_job(tensor("x", "FP64", [1.5]), parameters=wrong), held)


def test_mlflows_own_checks() -> None:
    """With `mlflow` checks the frame is the tensors' own, and MLflow decides what it takes."""
    schema = columns((DataType.long, "a"), (DataType.string, "s"))
    held = specs.input_spec(schema, checks="mlflow")
    given_ = [tensor("s", "BYTES", ["x"]), tensor("a", "INT32", [5]), tensor("other", "FP64", [1.5])]
    made = formats.decode(make_job(*given_, parameters={"q": 1}), held)
    assert made.params == {"q": 1}
    assert list(made.data.columns) == ["s", "a", "other"]
    assert _enforce_schema(made.data, schema).to_dict("list") == {"a": [5], "s": ["x"]}


def test_base64_texts_without_signature() -> None:
    """Where no signature says what they are, BYTES are text unless their content type says base64."""
    raw = base64.b64encode(b"\xff").decode()
    assert model_input(tensor("x", "BYTES", [raw, None], content_type="base64"), schema=None).tolist() == [
        b"\xff",
        None,
    ]
    decode_error(tensor("x", "BYTES", ["%"], content_type="base64"), schema=None)
    decode_error(tensor("x", "BYTES", ["{"], content_type="pd_json"), schema=None)


@pytest.mark.parametrize(
    ("kind", "given_", "expected"),
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
def test_type_hints(kind: Any, given_: Any, expected: list[Any]) -> None:
    """A model with type hints gets the list that MLflow's `inputs` would be; it checks that itself."""
    held = dataclasses.replace(specs.input_spec(columns((kind, None))), type_hinted=True)
    assert formats.decode(make_job(given_), held).data == expected
    with pytest.raises(InvalidInput, match="'y'"):
        formats.decode(make_job(given_, tensor("y", "INT64", [1])), held)
