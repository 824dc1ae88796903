"""Proves that a document accepts the bodies that the gateway accepts, and refuses those that it refuses."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.models.utils import _enforce_schema
from mlflow.types.schema import (
    AnyType,
    Array,
    ColSpec,
    DataType,
    Map,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    TensorSpec,
)

from tests.support.codec.specs import decode
from tests.support.version_documents import body_validator, document, signature
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

EFFORT = int(os.environ.get("GATEWAY_TEST_EFFORT", "1"))
SCALARS = list(DataType)
VALUES: list[Any] = [
    None, True, 0, 2.0, 2.5, -7, 2**31, 2**53, 2**63, 1e39, 3e38, "", "text", "YQ==", "YQ", "2024-02-03",
    "2024-02-03T04:05:06Z", "2024-13-01", "20240203", [], [1], [1.5], [None], ["a"], ["YQ=="], [True],
    [[1]], {}, {"k": 1}, {"k": None}, {"k": "a"}, {"x": 1.5}, {"x": None}, {"x": 1.0, "label": None},
    [{"x": 1.0}], ["2024-02-03"],
]  # fmt: skip
GOOD: dict[DataType, list[Any]] = {
    DataType.boolean: [True, False],
    DataType.integer: [1, -(2**31), 2.0],
    DataType.long: [1, 2**63 - 1, -(2**63)],
    DataType.float: [1.5, 3e38, 2],
    DataType.double: [1.5, 1e300, 2],
    DataType.string: ["", "text"],
    DataType.binary: ["YQ==", ""],
    DataType.datetime: ["2024-02-03", "2024-02-03T04:05:06.5+01:00"],
}
POINT = Object([Property("x", DataType.double), Property("label", DataType.string, required=False)])
TYPES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.one_of(
        inner.map(Array),
        inner.map(Map),
        st.builds(
            lambda kind, required: Object([Property("k", kind, required=required)]), inner, st.booleans()
        ),
    ),
    max_leaves=3,
) | st.sampled_from([AnyType(), Array(AnyType()), Map(AnyType()), POINT, Array(POINT)])
IGNORED = {"client_request_id": "a", "model": "b"}


def accepts(body: Any, schema: Schema, params: ParamSchema | None = None) -> bool:
    """Return whether the gateway takes the body, and MLflow does what the gateway made of it."""
    try:
        decoded = decode(body, schema, params=params)
        _enforce_schema(decoded.data, schema)
    except (InvalidInput, MlflowException):
        return False
    return True


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return values of which most fit the type."""
    return st.one_of(fitting(kind), fitting(kind), fitting(kind), st.sampled_from(VALUES))


def fitting(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, DataType):
        return st.sampled_from(GOOD[kind])
    if isinstance(kind, Array):
        return st.lists(values(kind.dtype), max_size=2)
    if isinstance(kind, Map):
        return st.dictionaries(st.sampled_from(["k", "l"]), values(kind.value_type), max_size=2)
    if isinstance(kind, Object):
        return st.fixed_dictionaries(
            {each.name: values(each.dtype) for each in kind.properties if each.required},
            optional={each.name: values(each.dtype) for each in kind.properties if not each.required},
        )
    return st.sampled_from(VALUES)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Schema, dict[str, Any]]:
    """Draw a schema of named columns, and a row of it: a column may be missing, another too many."""
    names = draw(st.lists(st.sampled_from(["a", "b c", "c.d", "ü"]), min_size=1, max_size=3, unique=True))
    columns = [ColSpec(draw(TYPES), name, required=draw(st.booleans())) for name in names]
    row = {name: draw(values(column.type)) for name, column in zip(names, columns, strict=True)}
    if draw(st.integers(0, 9)) == 0:
        row.pop(draw(st.sampled_from(names)))
    if draw(st.integers(0, 9)) == 0:
        row["unknown"] = 1
    return Schema([*columns]), row


ROW_FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dataframe_records": lambda row: {"dataframe_records": [row]},
    "instances": lambda row: {"instances": [row], **IGNORED},
    "inputs": lambda row: {"inputs": row},
    "record": lambda row: {"record": [row]},
    "list": lambda row: [row],
    "format": lambda row: {"format": "pandas_record", "record": [row]},
    "two forms": lambda row: {"dataframe_records": [row], "instances": [row]},
    "another key": lambda row: {"dataframe_records": [row], "another": 1},
}


@settings(max_examples=80 * EFFORT)
@given(drawn=tables(), form=st.sampled_from(sorted(ROW_FORMS)))
def test_rows(drawn: tuple[Schema, dict[str, Any]], form: str) -> None:
    """A row of named columns, with cells that fit and others that do not, in each form of a row."""
    schema, row = drawn
    check([ROW_FORMS[form](row)], schema)


NAMED = Schema([ColSpec(DataType.long, "a"), ColSpec(DataType.long, "b", required=False)])
UNNAMED = Schema([ColSpec(DataType.long), ColSpec(DataType.string)])
NUMBERED = Schema([ColSpec(DataType.double, cast("str", name)) for name in (0, 1)])  # of pandas' arrays
PAYLOADS: list[Any] = [
    [{"a": 1, "b": 2}], [{"a": 1}], [{"b": 1}], [{"a": 1, "c": 2}], {"a": 1}, {"a": [1, 2]},
    {"a": [1], "b": [2]}, {"a": [1, 2], "b": 3}, {"a": ["x"]}, {"b": [1]}, {"a": [[1]]}, [], {}, [[1, 2]],
    [[1, "x"]], [["x", 1]], [[1]], [1, 2], [1], 1, 1.5, "x", None, [None], [[None]], [["x"]], ["x"],
    [[1, 2], [3, 4]], [[1, 2, 3]], [{"0": 1, "1": 2}], {"0": [1], "1": [2]}, [{"x": 1, "y": "z"}],
    {"x": [1], "y": ["z"]}, {"x": 1, "y": "z"}, [[[1]]], [{"k": 1}], {"k": 1}, [[{"k": 1}]],
    [{"a": {"k": 1}}], {"a": {"k": 1}}, {"a": [{"k": 1}]}, [{}], {"a": "x"}, {"a": ["x", "y"]}, [True],
    [2.5], {"a": None}, [{"a": None}],
]  # fmt: skip
SPLITS: list[Any] = [
    {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}, {"columns": ["b", "a"], "data": [[1, 2]]},
    {"columns": ["a"], "data": [[1]]}, {"columns": ["b"], "data": [[1]]},
    {"columns": ["a", "a"], "data": [[1, 1]]}, {"columns": ["a", "c"], "data": [[1, 2]]},
    {"data": [[1, 2]]}, {"data": [[1]]}, {"columns": None, "data": [[1]]},
    {"columns": ["a"], "data": [["x"]]}, {"columns": ["a"], "data": [[1]], "index": ["r"]},
    {"columns": ["a"]}, {"columns": ["a"], "data": [[1]], "index": None},
    {"columns": ["a"], "data": [[1]], "index": [[1]]}, {"columns": ["a"], "data": [[1]], "more": 1},
    {"columns": ["a"], "data": [1]}, {"columns": "a", "data": [[1]]},
    {"columns": ["x", "y"], "data": [[1, "z"]]}, {"columns": ["x", "y"], "data": [["z", 1]]},
    {"data": [[1, "z"]]}, {"columns": [0, 1], "data": [[1, 2]]}, {"columns": ["0", "1"], "data": [[1, 2]]},
    {"columns": [1, 0], "data": [[1, 2]]}, {"columns": ["x", "y"], "data": [[1]]}, [], None,
    {"data": []}, {"columns": None, "data": []}, {"columns": ["a"], "data": []}, {"columns": [], "data": []},
    {"columns": ["a", "b"], "data": []}, {"columns": [0, 1], "data": []},
]  # fmt: skip
SCHEMAS: dict[str, Schema] = {
    "named": NAMED,
    "unnamed": UNNAMED,
    "numbered": NUMBERED,
    **{
        f"one named {kind}": Schema([ColSpec(kind, "a")])
        for kind in (DataType.long, DataType.string, AnyType())
    },
    "one named list": Schema([ColSpec(Array(DataType.long), "a")]),
    "one named list of lists": Schema([ColSpec(Array(Array(DataType.long)), "a")]),
    "one named list of any": Schema([ColSpec(Array(AnyType()), "a")]),
    "one named object": Schema([ColSpec(Object([Property("k", DataType.long)]), "a")]),
    "one named map": Schema([ColSpec(Map(DataType.long), "a")]),
    **{f"one unnamed {kind}": Schema([ColSpec(kind)]) for kind in (DataType.long, DataType.string)},
    "one unnamed list": Schema([ColSpec(Array(DataType.long))]),
    "one unnamed object": Schema([ColSpec(Object([Property("k", DataType.long)]))]),
    "one unnamed map": Schema([ColSpec(Map(DataType.long))]),
    "one unnamed any": Schema([ColSpec(AnyType())]),
    "tensor": Schema([TensorSpec(np.dtype("float64"), (-1, 2))]),
    "flat tensor": Schema([TensorSpec(np.dtype("int32"), (-1,))]),
    "text tensor": Schema([TensorSpec(np.dtype("str"), (-1, 1))]),
    "fixed tensor": Schema([TensorSpec(np.dtype("uint8"), (2, 2))]),
    "named tensor": Schema([TensorSpec(np.dtype("float32"), (-1,), "a")]),
    "named tensors": Schema(
        [TensorSpec(np.dtype("float32"), (-1,), "a"), TensorSpec(np.dtype("bool"), (-1, 1), "b")]
    ),
}
TENSOR_PAYLOADS: list[Any] = [
    {"a": [1.5], "b": [[True]]}, {"a": [1.5, 2], "b": [[True], [False]]}, {"a": [1.5], "b": [[1]]},
    {"a": [300.5]}, [{"a": 1.5, "b": [True]}], [{"a": 1.5}], [{"a": None}], [[1, 2.5], [None, 4]],
    [[255, 0], [1, 2]], [[256, 0], [1, 2]], [[-1, 0], [1, 2]], [[1e39, 2]], {"a": [1e39]}, [["x"], ["y"]],
]  # fmt: skip


@pytest.mark.parametrize("named", SCHEMAS)
def test_payloads(named: str) -> None:
    """Whatever stands under `instances` and `inputs`: the forms of data that MLflow knows, and others."""
    payloads = [
        payload for payload in (*PAYLOADS, *TENSOR_PAYLOADS) if named != "unnamed" or not has_names(payload)
    ]
    check([{form: payload} for payload in payloads for form in ("instances", "inputs")], SCHEMAS[named])


def has_names(payload: Any) -> bool:
    """Return whether a payload names its values.

    With names of any kind for columns of several types, a schema cannot tell which value is whose.
    """
    return isinstance(payload, dict) or (isinstance(payload, list) and any(map(has_names, payload)))


@pytest.mark.parametrize("named", [name for name in SCHEMAS if "tensor" not in name])
def test_tables(named: str) -> None:
    """Columns and rows apart, as MLflow writes them and as the replaced service did."""
    old = [
        {**split, "format": "pandas_split"}
        for split in SPLITS
        if isinstance(split, dict) and "columns" in split
    ]
    check([*({"dataframe_split": split} for split in SPLITS), *old], SCHEMAS[named])


PARAMS = ParamSchema(
    [
        ParamSpec("rate", DataType.double, 0.5),
        ParamSpec("count", DataType.long, None),
        ParamSpec("text", DataType.string, "a"),
        ParamSpec("stops", DataType.string, ["a"], shape=(-1,)),
        ParamSpec("sizes", DataType.double, [0.5], shape=(-1,)),
        ParamSpec("day", DataType.datetime, "2024-01-01"),
        ParamSpec("options", Object([Property("k", DataType.long)]), {"k": 1}),
    ]
)


@pytest.mark.parametrize("name", [*(each.name for each in PARAMS.params), "unknown"])
def test_params(name: str) -> None:
    """Values of every type for params of each type, and for one that the signature does not have."""
    params: list[Any] = [{name: value} for value in (*VALUES, ["a", 1], [["a"]])]
    check(
        [{"dataframe_records": [{"a": 1}], "params": given} for given in (*params, None, {}, [], 1)],
        NAMED,
        PARAMS,
    )


CHAT = Schema(
    [
        ColSpec(
            Array(Object([Property("role", DataType.string), Property("content", DataType.string)])),
            "messages",
        ),
        ColSpec(DataType.boolean, "stream", required=False),
    ]
)
COMPLETION = Schema([ColSpec(DataType.string, "prompt")])
OPTIONAL_INPUT = Schema([ColSpec(DataType.string, "input", required=False), ColSpec(DataType.string, "x")])
MESSAGES = [{"role": "user", "content": "hello"}]
CHATS: list[Any] = [
    {"messages": MESSAGES}, {"messages": MESSAGES, "rate": 0.1}, {"messages": MESSAGES, "rate": "x"},
    {"messages": []}, {"messages": MESSAGES, "stream": True}, {"messages": MESSAGES, "stream": 1},
    {"messages": "hello"}, {"rate": 0.1}, {"messages": [{"role": "user"}]},
    {"messages": MESSAGES, "more": 1}, {"messages": MESSAGES, "model": "m"}, {"prompt": "x"},
    {"prompt": ["x", "y"]}, {"prompt": 1}, {"input": "x"}, {"input": "x", "x": "y"}, {"x": "y"},
    {"dataframe_records": [{"messages": MESSAGES}]}, {"dataframe_records": [{"prompt": "x"}]},
]  # fmt: skip


@pytest.mark.parametrize("schema", [CHAT, COMPLETION, OPTIONAL_INPUT], ids=["chat", "completion", "optional"])
def test_language_models(schema: Schema) -> None:
    """Bodies of the unified form, where the params stand beside the input."""
    check(CHATS, schema, PARAMS)


def check(bodies: list[Any], schema: Schema, params: ParamSchema | None = None) -> None:
    """Assert that the gateway and the document decide alike about each body, and that they take some."""
    valid = body_validator(document(signature(schema, params=params)))
    wrong = []
    for body in bodies:
        accepted = accepts(body, schema, params)
        told = [error.message for error in valid.iter_errors(body)]
        if (not told) != accepted:
            wrong.append(f"the gateway {'takes' if accepted else 'refuses'} {json.dumps(body)}: {told}")
    assert wrong == [], schema.to_dict()
