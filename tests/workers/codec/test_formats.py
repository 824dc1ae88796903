"""Other JSON forms: the replaced service's, the unified LLM ones, and bodies under MLflow's own checks."""

from __future__ import annotations

import math
import sys
from typing import Any

import pandas as pd
import pytest
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc import scoring_server
from mlflow.types.schema import Array, ColSpec, DataType, Object, ParamSchema, ParamSpec, Property, Schema
from pandas.testing import assert_frame_equal

from tests.support.codec.specs import (
    MIXED,
    SENTINEL,
    column,
    columns,
    decode,
    decode_error,
    input_spec,
    json_body,
    mlflow_input,
    model_input,
)
from workers.codec import formats
from workers.codec.json.rows import parse_rows
from workers.errors import InvalidInput
from workers.protocol.messages import CONTENT_TYPES, CSV, OPEN_INFERENCE, Job

TABLE = columns((DataType.double, "a"), (DataType.string, "b"))
RECORDS = [{"a": 1.5, "b": "x"}, {"a": 2.5, "b": "y"}]
SPLIT = {"columns": ["a", "b"], "data": [[1.5, "x"], [2.5, "y"]]}


@pytest.mark.parametrize(
    "body",
    [
        SPLIT,
        {**SPLIT, "format": "pandas_split"},
        {"record": RECORDS},
        {"record": RECORDS, "format": "pandas_record"},
        RECORDS,
        {"instances": RECORDS, "format": "tf-instances"},
        {"inputs": {"a": [1.5, 2.5], "b": ["x", "y"]}, "format": "tf-inputs"},
    ],
)
def test_the_replaced_services_bodies(body: Any) -> None:
    """Each gives the same frame as MLflow's form of it, also with MLflow's checks."""
    expected = mlflow_input({"dataframe_records": RECORDS}, TABLE)
    assert_frame_equal(model_input(body, TABLE), expected)
    assert_frame_equal(_enforce_schema(decode(body, TABLE, checks="mlflow").data, TABLE), expected)
    assert decode(body, TABLE).wrapped


def test_the_replaced_services_bodies_keep_index_and_params() -> None:
    """The index and the params beside the data are kept."""
    params = ParamSchema([ParamSpec("p", DataType.long, 1)])
    request = decode({**SPLIT, "index": [7, 8], "params": {"p": 2}}, TABLE, params=params)
    assert list(request.data.index) == [7, 8]
    assert request.params == {"p": 2}


def test_every_media_type_has_a_format() -> None:
    """Each type that a client can send and accept can be decoded and encoded."""
    assert set(formats.FORMATS) == {*CONTENT_TYPES, OPEN_INFERENCE}


def test_no_module_is_imported_by_a_body() -> None:
    """Bug 8 of the replaced service: it imported the module that a body named."""
    before = set(sys.modules)
    for name in ("this", "antigravity", "gateway.artifacts.stores.mlflow_child"):
        sys.modules.pop("this", None)
        assert "format must be one of" in str(decode_error({**SPLIT, "format": name}, TABLE))
    assert "this" not in set(sys.modules) - before
    assert "antigravity" not in set(sys.modules) - before


def test_an_input_spec_keeps_nothing_of_a_request() -> None:
    """Bug 7 of the replaced service: the data of a request stayed in a shared object."""
    spec = input_spec(TABLE)
    first = formats.decode(Job(json_body(RECORDS)), spec)
    second = formats.decode(Job(json_body([{"a": 9.5, "b": "z"}])), spec)
    assert first.data["a"].tolist() == [1.5, 2.5]
    assert second.data["a"].tolist() == [9.5]
    first.data.loc[0, "a"] = 0.0
    again = formats.decode(Job(json_body(RECORDS)), spec)
    assert again.data["a"].tolist() == [1.5, 2.5]


MESSAGE = Object([Property("role", DataType.string), Property("content", DataType.string)])
CHAT = Schema(
    [
        ColSpec(Array(MESSAGE), "messages"),
        ColSpec(DataType.double, "temperature", required=False),
        ColSpec(DataType.long, "max_tokens", required=False),
    ]
)
HELLO = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "body", [{"messages": HELLO}, {"prompt": "hi"}, {"input": ["a", "b"], "format": "float"}]
)
def test_unified_llm_bodies(body: dict[str, Any]) -> None:
    """The body is the input and the response is not wrapped; `format` is a member like any other."""
    request = decode(body, None)
    assert (request.data, request.params, request.wrapped) == (body, None, False)


def test_unified_llm_params() -> None:
    """The signature says which members are params and which are data."""
    params = ParamSchema([ParamSpec("top_k", DataType.long, 1)])
    request = decode({"messages": HELLO, "top_k": 5.0}, None, params=params)
    assert (request.data, request.params) == ({"messages": HELLO}, {"top_k": 5})
    assert decode_error({"messages": HELLO, "top_k": 5.5}, None, params=params).details[0].column == "top_k"


def test_unified_llm_signature() -> None:
    """With a signature the body is checked as one row of it."""
    actual = model_input({"messages": HELLO, "temperature": 1, "max_tokens": None}, CHAT)
    assert actual["messages"].tolist() == [HELLO]
    assert actual["temperature"].tolist() == [1.0]
    assert "max_tokens" not in actual
    for wrong in (
        {"temperature": SENTINEL},
        {"max_tokens": 1.5},
        {"messages": [{"role": 5, "content": "x"}]},
    ):
        assert decode_error({"messages": HELLO, **wrong}, CHAT).details[0].column == next(iter(wrong))
    assert decode_error({"messages": HELLO, "unknown": 1}, CHAT).details[0].column == "unknown"


def test_unified_llm_texts() -> None:
    """A list of texts for a string column goes to the model as it is, as in MLflow."""
    body = {"input": ["a", "b"]}
    schema = columns((DataType.string, "input"))
    actual = model_input(body, schema)
    assert actual["input"].tolist() == [["a", "b"]]
    assert decode({"input": "a"}, schema).data["input"].tolist() == ["a"]
    assert decode_error({"input": ["a", 5]}, schema).details[0].column == "input"


# What MLflow makes of values that do not fit; its server answers 200.
LENIENT: list[tuple[DataType, Any, Any]] = [
    (DataType.long, 2.7, 2),
    (DataType.boolean, "false", True),
    (DataType.string, 5, 5),
    (DataType.datetime, 1704164645, pd.Timestamp("1970-01-01 00:00:01.704164645")),
    (DataType.double, "1.5", 1.5),
]


@pytest.mark.parametrize(("data_type", "sent", "received"), LENIENT)
def test_mlflows_own_checks(data_type: DataType, sent: Any, received: Any) -> None:
    """With `mlflow` checks each value becomes what MLflow makes of it; strict checks reject it."""
    body = {"dataframe_records": [{"x": sent, "extra": 1}]}
    actual = decode(body, column(data_type), checks="mlflow").data
    assert actual["x"].tolist() == [received]
    assert_frame_equal(actual[["x"]], mlflow_input(body, column(data_type)))
    decode_error(body, column(data_type))


def test_mlflows_own_numbers() -> None:
    """MLflow's parser accepts NaN and integers of any length; its errors repeat no value."""
    nan, wide = decode(b'{"inputs": [NaN, 1]}', None, checks="mlflow").data.tolist()
    assert math.isnan(nan)
    assert wide == 1
    assert decode(b'{"inputs": [36893488147419103233]}', None, checks="mlflow").data.tolist() == [2**65 + 1]
    decode_error({"dataframe_records": [{"x": SENTINEL}]}, column(DataType.long), checks="mlflow")
    decode_error({"inputs": [1]}, MIXED)


IGNORED: dict[str, Any] = {
    "client_request_id": "a",
    "databricks_options": {"return_trace": True},
    "signature_name": "serving_default",
    "model": "m",
}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}},
        {"dataframe_records": [{"a": 1, "b": 2}]},
        {"instances": [{"a": 1, "b": 2}]},
        {"inputs": {"a": [1], "b": [2]}},
        {"columns": ["a", "b"], "data": [[1, 2]]},
        {"format": "tf-inputs", "inputs": {"a": [1], "b": [2]}},
        {"record": [{"a": 1, "b": 2}], "params": None},
    ],
    ids=lambda body: next(iter(body)),
)
def test_keys_for_other_servers(body: dict[str, Any]) -> None:
    """Keys that clients add for other servers are ignored beside the data, as in MLflow's server."""
    schema = columns((DataType.long, "a"), (DataType.long, "b"))
    alone, beside = model_input(body, schema), model_input({**IGNORED, **body}, schema)
    pd.testing.assert_frame_equal(beside, alone)
    for name in ("Model", "models", "stream", "client_request_ids"):
        assert repr(name) in str(decode_error({**body, name: 1}, schema))


def test_rows_with_keys_for_other_servers() -> None:
    """Such a body can share a call of the model with others."""
    body = {**IGNORED, "dataframe_split": {"columns": ["a"], "data": [[1]]}}
    assert parse_rows(Job(json_body(body)), input_spec(columns((DataType.long, "a")))) is not None
    body["params"] = {"p": 1}
    assert parse_rows(Job(json_body(body)), input_spec(columns((DataType.long, "a")))) is None


def test_keys_for_other_servers_in_unified_llm_bodies() -> None:
    """The model gets them where MLflow's server passes them: in the body, as a param, or as a column."""
    body = {"messages": HELLO, **IGNORED}
    assert decode(body, None).data == body
    params = ParamSchema([ParamSpec("model", DataType.string, "x")])
    request = decode(body, None, params=params)
    assert request.params == {"model": "m"}
    assert request.data == {name: value for name, value in body.items() if name != "model"}
    server = scoring_server._parse_json_data(dict(body), input_spec(None, params=params).metadata, None)
    assert (request.data, request.params) == (server.data, server.params)


def test_keys_for_other_servers_beside_a_signature_of_messages() -> None:
    """A column of that name gets the value; without one it is dropped, as MLflow drops it."""
    body = {"messages": HELLO, **IGNORED}
    messages = ColSpec(Array(MESSAGE), "messages")
    assert list(model_input(body, Schema([messages])).columns) == ["messages"]
    frame = model_input(body, Schema([messages, ColSpec(DataType.string, "model")]))
    assert frame["model"].tolist() == ["m"]
    assert "not a column" in str(decode_error({**body, "other": 1}, Schema([messages])))


def test_an_index_in_csv_is_explained() -> None:
    """pandas writes a frame's index as a column without a name."""
    body = b",x\n0,1.5\n"
    with pytest.raises(InvalidInput, match="index=False"):
        formats.decode(Job(body, CSV), input_spec(column(DataType.double)))
