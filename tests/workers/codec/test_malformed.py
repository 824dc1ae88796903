"""Any bytes are decoded or rejected with InvalidInput; nothing else is raised."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from mlflow.types.schema import (
    AnyType,
    Array,
    DataType,
    Map,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    TensorSpec,
)

from tests.support.codec.specs import MIXED, column, columns, decode_error, input_spec, json_body
from workers.codec import formats
from workers.errors import InvalidInput, UnsupportedMediaType
from workers.protocol.messages import Job

DOUBLE = column(DataType.double)
SCHEMAS: list[Schema | None] = [
    None,
    MIXED,
    DOUBLE,
    column(AnyType()),
    columns((DataType.long, None), (DataType.string, None)),
    columns((Object([Property("k", Array(DataType.datetime))]), "x"), (Map(AnyType()), "y")),
    Schema([TensorSpec(np.dtype("float32"), (-1, 2))]),
    Schema([TensorSpec(np.dtype("str"), (-1,), "a"), TensorSpec(np.dtype("int64"), (-1, 1), "x")]),
]

MALFORMED: list[Any] = [
    b"",
    b"   ",
    b"{",
    b"nonsense",
    b'{"inputs": [1',
    b'{"inputs": [nan]}',
    b'{"inputs": [-NaN]}',
    b'{"inputs": [+Infinity]}',
    b'{"inputs": [1NaN]}',
    b'{"inputs": [NaN1]}',
    b'{"inputs": [NaNNaN]}',
    b'{"inputs": [Inf]}',
    b'{NaN: 1}',
    b'{"inputs": ["NaN]}',
    b'{"inputs": [NaN, "\\',
    b'{"inputs": [1e400]}',
    b'{"inputs": [' + b"9" * 5000 + b"]}",
    b'{"inputs": ["\xff\xfe"]}',
    b'{"inputs": ["\\ud800"]}',
    b"[" * 100_000,
    b"[" * 100_000 + b"NaN",
    b"NaN",
    b'{"inputs":' * 100_000,
    b'{"inputs": ' + b"[" * 900 + b"18446744073709551617" + b"]" * 900 + b"}",
    b"null", b"5", b'"x"', b"true", b"[]", b"[1]", b"[[1]]", b"{}",
    {"data": [[1]]},
    {"inputs": [1.5], "instances": [1.5]},
    {"inputs": [1.5], "other": 1},
    {"dataframe_split": None},
    {"dataframe_split": []},
    {"dataframe_split": {}},
    {"dataframe_split": {"columns": ["x"]}},
    {"dataframe_split": {"columns": ["x"], "data": None}},
    {"dataframe_split": {"columns": ["x"], "data": {"x": [1]}}},
    {"dataframe_split": {"columns": ["x"], "data": [1.5]}},
    {"dataframe_split": {"columns": ["x"], "data": [[1.5], [1.5, 2.5]]}},
    {"dataframe_split": {"columns": ["x"], "data": [[]]}},
    {"dataframe_split": {"columns": ["x", "x"], "data": [[1.5, 1.5]]}},
    {"dataframe_split": {"columns": "x", "data": [[1.5]]}},
    {"dataframe_split": {"columns": [["x"]], "data": [[1.5]]}},
    {"dataframe_split": {"columns": [None], "data": [[1.5]]}},
    {"dataframe_split": {"columns": ["x"], "data": [[1.5]], "index": [1, 2]}},
    {"dataframe_split": {"columns": ["x"], "data": [[1.5]], "index": 1}},
    {"dataframe_split": {"columns": ["x"], "data": [[1.5]], "index": [[1]]}},
    {"dataframe_split": {"columns": ["x"], "data": [[1.5]], "names": 1}},
    {"dataframe_records": []},
    {"dataframe_records": {"x": 1.5}},
    {"dataframe_records": [{"x": 1.5}, [1.5]]},
    {"dataframe_records": [{"x": [1.5]}]},
    {"dataframe_records": [{"x": {"a": 1.5}}]},
    {"instances": [{"x": 1.5}, 1.5]},
    {"instances": [[1.5], 1.5]},
    {"instances": [1.5, [1.5]]},
    {"inputs": {"x": [1.5, [2.5]]}},
    {"inputs": {"x": [[1.5]]}},
    {"inputs": {}},
    {"format": "csv", "data": [[1]]},
    {"format": 5, "data": [[1]]},
    {"format": ["pandas_split"], "data": [[1]]},
    {"format": "tf-inputs", "instances": [1.5]},
    {"format": "pandas_record", "record": [{"x": 1.5}], "dataframe_records": [{"x": 2.5}]},
    {"columns": ["x"], "data": [[1.5]], "dataframe_split": {"columns": ["x"], "data": [[2.5]]}},
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: str(body)[:60])
def test_rejected_as_input(body: Any) -> None:
    """A body that is no table of doubles is rejected with a message."""
    assert str(decode_error(body, DOUBLE))


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: str(body)[:60])
def test_nothing_but_invalid_input_is_raised(body: Any) -> None:
    """The same bodies are decoded or rejected for other signatures and with MLflow's checks."""
    for schema in SCHEMAS:
        for checks in ("strict", "mlflow"):
            try:
                formats.decode(Job(json_body(body)), input_spec(schema, checks=checks))
            except InvalidInput as error:
                assert str(error)  # noqa: PT017 - it need not be raised


def test_unknown_media_type() -> None:
    """The error names the supported types."""
    with pytest.raises(UnsupportedMediaType, match="application/json"):
        formats.decode(Job(b"x", "text/html"), input_spec(DOUBLE))


SEEDS = [
    {"dataframe_split": {"columns": ["count", "x"], "index": [0], "data": [[1, "a"], [2.5, None]]}},
    {"dataframe_records": [{"x": 1.5, "y": {"k": ["2024-01-01"]}}, {"x": None}]},
    {"inputs": {"x": [[1, 2], [3, 4]], "a": ["p", "q"]}, "params": {"p": 1, "q": [1]}},
    {"instances": [[1, 2], ["a", True]], "params": None},
    {"columns": ["x"], "data": [[1]], "format": "pandas_split"},
    {"messages": [{"role": "user", "content": "hi"}], "p": 2.5},
]
ATOMS: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**64,
    1.5,
    1e300,
    "",
    "a",
    "2024-01-01",
    [],
    {},
    [[]],
    [{}],
    {"x": []},
]
PARAMS = ParamSchema([ParamSpec("p", DataType.long, 1), ParamSpec("q", DataType.double, [1.0], shape=(-1,))])


def mutated(value: Any, rng: random.Random) -> Any:
    """Return `value` with one part of it replaced, dropped or duplicated."""
    if rng.random() < 0.15 or not isinstance(value, list | dict) or not value:
        return rng.choice(ATOMS)
    if isinstance(value, list):
        index = rng.randrange(len(value))
        return [*value[:index], mutated(value[index], rng), *value[index + rng.randint(0, 1) :]]
    name = rng.choice(list(value))
    rest = {other: item for other, item in value.items() if other != name}
    return {**rest, rng.choice([name, name, name, "x", "inputs"]): mutated(value[name], rng)}


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: next(iter(seed)))
def test_mutations(seed: dict[str, Any]) -> None:
    """Thousands of mutated bodies of each form, some with bytes cut or changed, are decoded or rejected."""
    rng = random.Random(20240102)  # noqa: S311 - a seeded fuzz
    rejected = 0
    for number in range(2500):
        document: Any = seed
        for _ in range(rng.randint(1, 3)):
            document = mutated(document, rng)
        body = bytearray(json.dumps(document).encode())
        if number % 4 == 0:
            body[rng.randrange(len(body))] = rng.randrange(256)
        if number % 7 == 0:
            del body[rng.randrange(len(body)) :]
        schema = SCHEMAS[number % len(SCHEMAS)]
        try:
            formats.decode(Job(bytes(body)), input_spec(schema, params=PARAMS))
        except InvalidInput:
            rejected += 1
    assert 1000 < rejected < 2500
