"""Predictions as Open Inference tensors: named as the metadata says, exact, in JSON or binary."""

from __future__ import annotations

import datetime
import decimal
import json
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mlflow.types.schema import DataType, Schema, TensorSpec
from scipy import sparse

from tests.support.codec.predictions import PREDICTIONS
from tests.support.codec.specs import columns
from tests.support.codec.v2_bodies import (
    DTYPES,
    binary_elements,
    decode,
    encode_response,
    encoded_json,
    make_job,
    tensor,
)
from workers.codec import formats
from workers.errors import InvalidInput, ModelError
from workers.protocol.messages import JSON

ALL_BINARY: dict[str, Any] = {"parameters": {"binary_data_output": True}}
DAY = datetime.date(2024, 1, 2)
WIDE = 2**60 + 1
JSON_TRUE_NULL = ("BYTES", [2, 1], "pd_json", ["true", "null"])
PAIR = columns((DataType.double, "mean"), (DataType.double, "error"))

# Predictions; datatype, shape, content type and data of their tensor
TENSORS: dict[str, tuple[Any, tuple[str, list[int], str | None, list[Any]]]] = {
    "array": (np.array([1.5, np.nan, np.inf]), ("FP64", [3, 1], None, [1.5, None, None])),
    "matrix": (np.array([[1, 2], [3, 4]], dtype=np.int8), ("INT8", [2, 2], None, [1, 2, 3, 4])),
    "not contiguous": (np.arange(6).reshape(2, 3).T, ("INT64", [3, 2], None, [0, 3, 1, 4, 2, 5])),
    "big-endian": (np.array([[1.5]], dtype=">f8"), ("FP64", [1, 1], None, [1.5])),
    "float32": (np.array([0.1], dtype=np.float32), ("FP32", [1, 1], None, [0.10000000149011612])),
    "long double": (np.array([0.5], dtype=np.longdouble), ("FP64", [1, 1], None, [0.5])),
    "0-d": (np.array(5), ("INT64", [1, 1], None, [5])),
    "scalar": (np.float16(0.5), ("FP16", [1, 1], None, [0.5])),
    "number": (5, ("INT64", [1, 1], None, [5])),
    "empty": (np.empty((0, 3)), ("FP64", [0, 3], None, [])),
    "booleans": ([True, np.True_], ("BOOL", [2, 1], None, [True, True])),
    "numbers": ([1, 2.5], ("FP64", [2, 1], None, [1.0, 2.5])),
    "numbers that no double holds": ([2**60 + 1, 0.5], ("BYTES", [2, 1], "pd_json", [str(2**60 + 1), "0.5"])),
    "numbers beyond 64 bits": ([2**70], ("BYTES", [1, 1], "pd_json", [str(2**70)])),
    "true beside one": ([True, 1], ("BYTES", [2, 1], "pd_json", ["true", "1"])),
    "nested lists": ([[1, 2], [3, 4]], ("INT64", [2, 2], None, [1, 2, 3, 4])),
    "ragged": ([[1], [2, 3]], ("BYTES", [2, 1], "pd_json", ["[1]", "[2,3]"])),
    "arrays": ([np.array([1, 2]), np.array([3, 4])], ("INT64", [2, 2], None, [1, 2, 3, 4])),
    "texts": (["a", None], ("BYTES", [2, 1], "str", ["a", None])),
    "text": ("a", ("BYTES", [1, 1], "str", ["a"])),
    "texts array": (np.array([["a", "ö"]]), ("BYTES", [1, 2], "str", ["a", "ö"])),
    "bytes": ([b"\xff", b""], ("BYTES", [2, 1], "base64", ["/w==", ""])),
    "times": (np.array(["2024-01-02", "NaT"], "M8[D]"), ("BYTES", [2, 1], "datetime", ["2024-01-02", None])),
    "dates": ([DAY, None], ("BYTES", [2, 1], "datetime", ["2024-01-02", None])),
    "durations": (np.array([90], dtype="m8[s]"), ("BYTES", [1, 1], "str", ["P0DT0H1M30S"])),
    "series": (pd.Series([1.5, None]), ("FP64", [2, 1], None, [1.5, None])),
    "nullable integers": (pd.Series([1, None], dtype="Int64"), ("FP64", [2, 1], None, [1.0, None])),
    "wide ones": (pd.Series([WIDE, None], dtype="Int64"), ("BYTES", [2, 1], "pd_json", [str(WIDE), "null"])),
    "whole ones": (pd.Series([2**60 + 1], dtype="Int64"), ("INT64", [1, 1], None, [2**60 + 1])),
    "nullable booleans": (pd.Series([True, pd.NA], dtype="boolean"), JSON_TRUE_NULL),
    "categories": (pd.Series(["a", "b"], dtype="category"), ("BYTES", [2, 1], "str", ["a", "b"])),
    "objects of texts": (pd.Series(["a", np.nan], dtype=object), ("BYTES", [2, 1], "str", ["a", None])),
    "records": ([{"k": 1}, {"k": DAY}], ("BYTES", [2, 1], "pd_json", ['{"k":1}', '{"k":"2024-01-02"}'])),
    "decimal": ([decimal.Decimal("1.50")], ("BYTES", [1, 1], "pd_json", ["1.50"])),
    "complex": (np.array([1 + 2j]), ("BYTES", [1, 1], "pd_json", ["[1.0,2.0]"])),
    "masked": (np.ma.masked_array([True, True], mask=[False, True]), JSON_TRUE_NULL),
    "sparse": (sparse.csr_matrix([[0.0, 1.5]]), ("FP64", [1, 2], None, [0.0, 1.5])),
    "none": (None, ("BYTES", [1, 1], "str", [None])),
    "surrogate": (["\ud800"], ("BYTES", [1, 1], "str", ["\ud800"])),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_one_tensor(case: str) -> None:
    """One value becomes one output with the right datatype, shape, content type and data."""
    predictions, (datatype, shape, content_type, expected) = TENSORS[case]
    output = encoded_json(predictions)["outputs"][0]
    assert output["name"] == "output-0"
    assert (output["datatype"], output["shape"], output["data"]) == (datatype, shape, expected)
    assert output.get("parameters") == (None if content_type is None else {"content_type": content_type})


@pytest.mark.parametrize("case", PREDICTIONS)
def test_every_type_of_prediction(case: str) -> None:
    """Predictions that have a JSON form become tensors with as many values as their shapes say."""
    for top in ({}, ALL_BINARY):
        for output in encoded_json(PREDICTIONS[case][0], **top)["outputs"]:
            if "data" in output:
                assert len(output["data"]) == np.prod(output["shape"])


def test_no_json_form() -> None:
    """The error names the type that has no JSON form."""
    with pytest.raises(ModelError, match="object"):
        encode_response([object()])


FRAME = pd.DataFrame({"n": [1, 2], "s": ["a", None], "w": [pd.Timestamp("2024-01-02"), pd.NaT]})


def test_a_frame() -> None:
    """A frame becomes one tensor per column, by its name."""
    document = encoded_json(FRAME, id="7")
    assert document["id"] == "7"
    assert document["parameters"] == {"content_type": "pd"}
    assert {output["name"]: output["data"] for output in document["outputs"]} == {
        "n": [1, 2],
        "s": ["a", None],
        "w": ["2024-01-02T00:00:00.000000", None],
    }


def names(predictions: object, outputs: Schema | None) -> list[str]:
    return [output["name"] for output in encoded_json(predictions, outputs=outputs)["outputs"]]


def test_names() -> None:
    """Outputs have the names of the frame or the signature, or else `output-0`, `output-1`, …"""
    nameless = columns((DataType.double, None), (DataType.double, None))
    table = np.array([[1.0, 2.0]])
    assert names(table, PAIR) == ["mean", "error"]
    assert names(table, nameless) == ["output-0", "output-1"]
    assert names(table, None) == ["output-0"]
    assert names(table, Schema([TensorSpec(np.dtype("float64"), (-1, 2), "y")])) == ["y"]
    assert names(pd.DataFrame(table), nameless) == ["output-0", "output-1"]
    assert names(pd.DataFrame(table), None) == ["0", "1"]
    assert names(pd.DataFrame(table, columns=["a", "a"]), None) == ["output-0", "output-1"]
    assert names(pd.DataFrame({"mean": [1.0], "other": [2.0]}), PAIR) == ["mean", "other"]
    assert names({"b": [1.0], "a": "x"}, None) == ["b", "a"]
    assert names(pd.Series([1.0], name="s"), columns((DataType.double, "y"))) == ["y"]
    assert encoded_json(table, outputs=PAIR)["outputs"][1]["data"] == [2.0]


def test_content_types_of_the_response() -> None:
    """The response has the content type by which MLServer's client decodes it."""
    for predictions, content_type in (
        (FRAME, "pd"),
        (np.ones(1), "np"),
        ({"a": np.ones(1)}, "dict"),
        (["a"], "str"),
    ):
        assert encoded_json(predictions)["parameters"] == {"content_type": content_type}


def test_requested_outputs() -> None:
    """The response has the requested outputs, in order and form; an unknown one is rejected by name."""
    outputs = [{"name": "s"}, {"name": "n", "parameters": {"binary_data": True}}]
    response = encode_response(FRAME, outputs=None, id="x")
    assert (response.content_type, response.json_length, response.wrapped) == (JSON, None, False)
    body = make_job(tensor("x", "FP64", [1.5]), outputs=outputs)
    request = decode(tensor("x", "FP64", [1.5]), schema=None, outputs=outputs)
    response = formats.encode(FRAME, request, body)
    assert response.content_type == "application/octet-stream"
    document = json.loads(response.body[: response.json_length])
    assert [output["name"] for output in document["outputs"]] == ["s", "n"]
    assert document["outputs"][1]["parameters"] == {"binary_data_size": 16}
    assert "data" not in document["outputs"][1]
    assert response.body[response.json_length :] == struct.pack("<qq", 1, 2)
    request = decode(tensor("x", "FP64", [1.5]), schema=None, outputs=[{"name": "nope"}])
    with pytest.raises(InvalidInput, match="nope"):
        formats.encode(FRAME, request, body)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
@given(data=st.data())
def test_binary_is_exact(datatype: str, data: Any) -> None:
    """The bytes are those of the array, little-endian, in C order, with NaN and infinities."""
    array = data.draw(arrays.arrays(np.dtype(DTYPES[datatype]), arrays.array_shapes(max_dims=3, min_side=0)))
    response = encode_response(array, **ALL_BINARY)
    output = json.loads(response.body[: response.json_length])["outputs"][0]
    assert output["datatype"] == datatype
    raw = response.body[response.json_length :]
    assert output["parameters"] == {"binary_data_size": len(raw)}
    assert raw == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_bytes_in_binary() -> None:
    """Text is sent as UTF-8, bytes as they are; outputs with null or lone surrogates stay in JSON."""
    response = encode_response(
        {"t": ["ö", ""], "b": [b"\xff"], "n": ["a", None], "s": ["\ud800"]}, **ALL_BINARY
    )
    outputs = json.loads(response.body[: response.json_length])["outputs"]
    assert outputs[0]["parameters"] == {"content_type": "str", "binary_data_size": 10}
    assert outputs[1]["parameters"] == {"binary_data_size": 5}
    assert [output["data"] for output in outputs[2:]] == [["a", None], ["\ud800"]]
    assert response.body[response.json_length :] == binary_elements(["ö".encode(), b"", b"\xff"])
