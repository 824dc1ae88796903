"""The form of a signature: controls by type, the example exactly, and bounds for what strangers wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.console.form import MAX_COLUMNS, build_form


def spec(kind: Any, name: Any = "x", *, required: bool = True, **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": name, "required": required, **more}


def tensor(dtype: str, shape: Any, name: str | None = None) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}, **named}


def form(*inputs: Any, example: Any = None, params: Any = None) -> dict[str, Any]:
    return build_form({"inputs": list(inputs), "outputs": None, "params": params}, example)


CONTROLS = {
    "double": "decimal",
    "float": "decimal",
    "long": "integer",
    "integer": "integer",
    "boolean": "boolean",
    "string": "text",
    "datetime": "datetime",
    "binary": "binary",
    "array": "json",
    "object": "json",
    "map": "json",
    "any": "json",
    "a type of the future": "json",
}


@pytest.mark.parametrize("kind", CONTROLS)
def test_each_type_has_its_control(kind: str) -> None:
    """A type that the form does not know is written as JSON."""
    (column,) = form(spec(kind, required=False))["columns"]
    assert (column["control"], column["required"], column["name"]) == (CONTROLS[kind], False, "x")


def test_types_are_named_as_people_read_them() -> None:
    """Also those inside of lists and maps."""
    nested = spec("array", items={"type": "map", "values": {"type": "long"}})
    assert form(nested)["columns"][0]["type"] == "list of map of long"


ROW = {"a": 9007199254740993, "b": "007", "c": None, "d": 1.50, "e": {"k": [1, "é"]}}
COLUMNS = [
    spec("long", "a"),
    spec("string", "b"),
    spec("double", "c"),
    spec("double", "d"),
    spec("object", "e"),
]
CELLS = ["9007199254740993", "007", None, "1.50", '{"k": [1, "é"]}']
EXAMPLES = {
    "split": '{"dataframe_split": {"columns": ["e", "a", "b", "d"], "data": [[E, A, "007", 1.50]]}}',
    "records": '{"dataframe_records": [{"a": A, "b": "007", "d": 1.50, "e": E}]}',
    "instances": '{"instances": [{"a": A, "b": "007", "c": null, "d": 1.50, "e": E}]}',
    "columns": '{"inputs": {"a": [A], "b": ["007"], "d": [1.50], "e": [E]}}',
    "one row": '{"inputs": {"a": A, "b": "007", "d": 1.50, "e": E}}',
    "last release": '{"columns": ["a", "b", "c", "d", "e"], "data": [[A, "007", null, 1.50, E]]}',
    "bare records": '[{"a": A, "b": "007", "d": 1.50, "e": E}]',
    "rows": '{"inputs": [[A, "007", null, 1.50, E]]}',
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_example_is_exact_in_every_form_of_a_body(kind: str) -> None:
    """Numbers keep their digits, also those that a double or a browser would change."""
    example = EXAMPLES[kind].replace("A", "9007199254740993").replace("E", '{"k": [1, "é"]}')
    assert form(*COLUMNS, example=example.encode())["rows"] == [CELLS]


def test_a_text_in_a_column_of_json_is_json() -> None:
    """Otherwise it would look like a number."""
    assert form(spec("any"), example='{"inputs": {"x": ["1", 1]}}')["rows"] == [['"1"'], ["1"]]


def test_columns_without_names() -> None:
    """They are sent by position, and one alone as the list of its values."""
    two = form({"type": "double"}, {"type": "long"}, example='{"dataframe_split": {"data": [[0.5, 3]]}}')
    assert (two["body"], two["rows"]) == ("unnamed", [["0.5", "3"]])
    assert [column["label"] for column in two["columns"]] == ["column 1", "column 2"]
    one = form({"type": "string"}, example='{"inputs": ["a", "b"]}')
    assert (one["body"], one["rows"]) == ("inputs", [["a"], ["b"]])


def test_numbers_as_names() -> None:
    """A frame that was made of an array has them."""
    example = '{"dataframe_split": {"columns": [0, 1], "data": [[1.5, 2.5]]}}'
    numbered = form(spec("double", 0), spec("double", 1), example=example)
    assert [column["name"] for column in numbered["columns"]] == ["0", "1"]
    assert numbered["rows"] == [["1.5", "2.5"]]


def test_values_of_the_example_are_suggested() -> None:
    """For texts, each once."""
    both = form(spec("string"), spec("double", "y"), example=[{"x": t, "y": 1} for t in ("a", "b", "a")])
    assert [column["suggestions"] for column in both["columns"]] == [["a", "b"], []]


def test_tensors() -> None:
    """They have their shape, and their example or zeros of that shape."""
    (alone,) = form(tensor("float64", [-1, 3]))["tensors"]
    assert alone == {"name": None, "dtype": "float64", "shape": [-1, 3], "text": "[[0, 0, 0]]"}
    named = form(tensor("str", [-1], "t"), tensor("bool", [2], "f"), example='{"inputs": {"t": ["a"]}}')
    assert [each["text"] for each in named["tensors"]] == ['["a"]', "[false, false]"]
    assert form(tensor("uint8", [-1, 512, 512, 3]))["tensors"][0]["text"] == "[]"


MESSAGE = {"type": "object", "properties": {}}


@pytest.mark.parametrize("field", ["messages", "input"])
def test_conversations(field: str) -> None:
    """A list of messages is a chat if the other columns can be left out."""
    example = json.dumps({field: [{"role": "user", "content": "hello"}], "top_k": 5})
    chat = form(spec("array", field, items=MESSAGE), spec("map", "context", required=False), example=example)
    assert (chat["kind"], chat["field"], chat["others"]) == ("chat", field, '{"top_k": 5}')
    assert chat["messages"] == [{"role": "user", "content": "hello"}]
    assert form(spec("array", field, items=MESSAGE), spec("long", "n"))["kind"] == "table"
    assert form(spec("string", field))["kind"] == "table"


def test_params() -> None:
    """Each has its control and default; the example's value stands in the control."""
    params = [
        {"name": "t", "type": "double", "default": 0.5, "shape": None},
        {"name": "stops", "type": "string", "default": ["a"], "shape": [-1]},
        {"name": "none", "type": "string", "default": None, "shape": None},
    ]
    built = form(spec("double"), params=params, example='{"inputs": {"x": 1}, "params": {"t": 0.70}}')
    assert [(each["control"], each["default"], each["value"]) for each in built["params"]] == [
        ("decimal", "0.5", "0.70"),
        ("json", '["a"]', '["a"]'),
        ("text", None, None),
    ]


@pytest.mark.parametrize(
    "signature", [None, {}, {"inputs": None}, {"inputs": []}, {"inputs": "x"}, {"inputs": [1]}]
)
def test_without_a_signature_a_body_is_written(signature: Any) -> None:
    """The example is one."""
    built = build_form(signature, '{"instances": [{"a": 1.0}]}')
    assert (built["kind"], built["reason"]) == ("json", "unsigned")
    assert built["example"] == '{"instances": [{"a": 1.0}]}'


def test_more_columns_than_a_form_has() -> None:
    """The body is written as JSON."""
    assert form(*(spec("double", f"c{at}") for at in range(MAX_COLUMNS + 1)))["reason"] == "wide"


HOSTILE: list[Any] = [
    b"[" * 100_000,
    b"\xff",
    b'{"dataframe_split": {"columns": 5, "data": {}}}',
    b'{"dataframe_split": {"columns": ["x"], "data": [[1, 2], 3]}}',
    b'{"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}',
    b'{"inputs": {"x": {"deep": 1}}}',
    b'{"inputs": "x"}',
    b"5",
    b'"x"',
    b"null",
    json.dumps({"inputs": {"x": ["a" * 1000] * 5000}}).encode(),
    json.dumps([{"x": "a" * 300_000}]).encode(),
]


@pytest.mark.parametrize("example", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize(
    "inputs",
    [
        [spec("string")],
        [{"type": "string"}],
        [tensor("float64", ["a", None, 2**70, -1], "x")],
        [spec({"a": 1}, ["n"])],
        [spec("array", items={"type": ["x"]})],
        [spec("array", "messages", items=MESSAGE)],
        [spec("double", "n" * 10_000)],
    ],
    ids=range(7),
)
def test_what_strangers_wrote_is_bounded(example: Any, inputs: list[Any]) -> None:
    """No signature and no example makes the form fail, or large."""
    params = [{"name": 5}, "x", {"name": "p", "type": {}, "default": {"a": [1]}, "shape": "x"}] * 100
    built = build_form({"inputs": inputs, "params": params}, example)
    assert len(json.dumps(built)) < 300_000


def test_a_parsed_example() -> None:
    """It may also be what a JSON text holds."""
    assert form(spec("double"), example={"inputs": {"x": [1.5, None]}})["rows"] == [["1.5"], [None]]


def test_whether_there_is_an_example() -> None:
    """One that does not fit is none."""
    assert form(spec("double"), example='{"inputs": {"x": [1]}}')["has_example"]
    assert not form(spec("double"), example='{"inputs": {"y": [1]}}')["has_example"]
    assert not form(tensor("float64", [-1]))["has_example"]


@pytest.mark.parametrize("name", [None, "a"])
def test_a_signature_that_repeats_the_example_is_bounded(name: str | None) -> None:
    """Two hundred tensors, or a hundred params, that each name the same long part of the example."""
    values = [0.5] * 20_000
    given = values if name is None else {name: values}
    tensors = [tensor("float64", [-1], name)] * MAX_COLUMNS
    params = [{"name": "p", "type": "string", "default": "d"}] * 100
    chosen = json.dumps({"inputs": [], "params": {"p": "y" * 90_000}})
    of_tensors = form(*tensors, example=json.dumps({"inputs": given}))
    of_params = form(spec("string"), example=chosen, params=params)
    assert len(json.dumps(of_tensors)) < 250_000
    assert len(json.dumps(of_params)) < 250_000


@pytest.mark.parametrize("name", [{"k": "v" * 1000}, ["v"], "v" * 1000])
def test_a_name_that_no_form_can_show_leaves_json(name: Any) -> None:
    """Names are texts or numbers, and not long."""
    found = form(spec("string", name))
    assert (found["kind"], len(json.dumps(found)) < 500) == ("json", True)
