"""The other forms of a body: the replaced service's, the unified LLM ones, and MLflow's own checks."""

from __future__ import annotations

import math
import sys
from typing import Any

import pandas as pd
import pytest
from mlflow.models.utils import _enforce_schema
from mlflow.types.schema import Array, ColSpec, DataType, Object, ParamSchema, ParamSpec, Property, Schema
from pandas.testing import assert_frame_equal

from tests.support.codec.plans import (
    MIXED,
    SENTINEL,
    by_mlflow,
    column,
    columns,
    data,
    encoded,
    plan,
    read,
    refused,
)
from workers.codec import formats
from workers.protocol.messages import Job

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
    """Each gives the frame of MLflow's form of it, under MLflow's checks as well."""
    wanted = by_mlflow({"dataframe_records": RECORDS}, TABLE)
    assert_frame_equal(data(body, TABLE), wanted)
    assert_frame_equal(_enforce_schema(read(body, TABLE, checks="mlflow").data, TABLE), wanted)
    assert read(body, TABLE).wrapped


def test_the_replaced_services_bodies_keep_index_and_params() -> None:
    """What stands beside the data goes on with it."""
    params = ParamSchema([ParamSpec("p", DataType.long, 1)])
    request = read({**SPLIT, "index": [7, 8], "params": {"p": 2}}, TABLE, params=params)
    assert list(request.data.index) == [7, 8]
    assert request.params == {"p": 2}


def test_no_module_is_imported_by_a_body() -> None:
    """Bug 8 of the replaced service: it imported a module that the body named."""
    before = set(sys.modules)
    for name in ("this", "antigravity", "gateway.artifacts.stores.mlflow_child"):
        sys.modules.pop("this", None)
        assert "format must be one of" in str(refused({**SPLIT, "format": name}, TABLE))
    assert "this" not in set(sys.modules) - before
    assert "antigravity" not in set(sys.modules) - before


def test_one_plan_holds_nothing_of_a_request() -> None:
    """Bug 7 of the replaced service: a request's data stayed on a shared object."""
    compiled = plan(TABLE)
    first = formats.decode(Job(encoded(RECORDS)), compiled)
    second = formats.decode(Job(encoded([{"a": 9.5, "b": "z"}])), compiled)
    assert first.data["a"].tolist() == [1.5, 2.5]
    assert second.data["a"].tolist() == [9.5]
    first.data.loc[0, "a"] = 0.0
    again = formats.decode(Job(encoded(RECORDS)), compiled)
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
    """The body is the input and the answer is not wrapped; `format` is the caller's there."""
    request = read(body, None)
    assert (request.data, request.params, request.wrapped) == (body, None, False)


def test_unified_llm_params() -> None:
    """Params stand beside the data, and are told from it by the signature."""
    params = ParamSchema([ParamSpec("top_k", DataType.long, 1)])
    request = read({"messages": HELLO, "top_k": 5.0}, None, params=params)
    assert (request.data, request.params) == ({"messages": HELLO}, {"top_k": 5})
    assert refused({"messages": HELLO, "top_k": 5.5}, None, params=params).details[0].column == "top_k"


def test_unified_llm_signature() -> None:
    """A body with a signature is held against it as any other, as one row."""
    made = data({"messages": HELLO, "temperature": 1, "max_tokens": None}, CHAT)
    assert made["messages"].tolist() == [HELLO]
    assert made["temperature"].tolist() == [1.0]
    assert "max_tokens" not in made
    for wrong in (
        {"temperature": SENTINEL},
        {"max_tokens": 1.5},
        {"messages": [{"role": 5, "content": "x"}]},
    ):
        assert refused({"messages": HELLO, **wrong}, CHAT).details[0].column == next(iter(wrong))
    assert refused({"messages": HELLO, "unknown": 1}, CHAT).details[0].column == "unknown"


def test_unified_llm_texts() -> None:
    """Several texts at once in a column of strings are the model's to take, as in MLflow."""
    body = {"input": ["a", "b"]}
    schema = columns((DataType.string, "input"))
    made = data(body, schema)
    assert made["input"].tolist() == [["a", "b"]]
    assert read({"input": "a"}, schema).data["input"].tolist() == ["a"]
    assert refused({"input": ["a", 5]}, schema).details[0].column == "input"


# FACTS §3.7: what MLflow makes of values that do not fit, answered 200 by its server.
LENIENT: list[tuple[DataType, Any, Any]] = [
    (DataType.long, 2.7, 2),
    (DataType.boolean, "false", True),
    (DataType.string, 5, 5),
    (DataType.datetime, 1704164645, pd.Timestamp("1970-01-01 00:00:01.704164645")),
    (DataType.double, "1.5", 1.5),
]


@pytest.mark.parametrize(("kind", "sent", "got"), LENIENT)
def test_mlflows_own_checks(kind: DataType, sent: Any, got: Any) -> None:
    """`mlflow` gives its behaviour value for value, where the strict checks refuse."""
    body = {"dataframe_records": [{"x": sent, "extra": 1}]}
    made = read(body, column(kind), checks="mlflow").data
    assert made["x"].tolist() == [got]
    assert_frame_equal(made[["x"]], by_mlflow(body, column(kind)))
    refused(body, column(kind))


def test_mlflows_own_numbers() -> None:
    """Its parser takes NaN and integers of any length; its refusals do not echo here."""
    nan, wide = read(b'{"inputs": [NaN, 1]}', None, checks="mlflow").data.tolist()
    assert math.isnan(nan)
    assert wide == 1
    assert read(b'{"inputs": [36893488147419103233]}', None, checks="mlflow").data.tolist() == [2**65 + 1]
    refused({"dataframe_records": [{"x": SENTINEL}]}, column(DataType.long), checks="mlflow")
    refused({"inputs": [1]}, MIXED)
