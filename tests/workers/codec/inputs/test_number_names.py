"""Signatures whose names are numbers, as `infer_signature(pd.DataFrame(array))` writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema, TensorSpec

from tests.support.codec import tabular, v2_bodies
from tests.support.codec.specs import column, decode, decode_error, input_spec, mlflow_input, model_input
from workers.codec import formats
from workers.codec.json import fast_numbers
from workers.codec.json.rows import parse_rows
from workers.errors import InvalidInput
from workers.protocol.messages import ARROW, CSV, PARQUET, Job

if TYPE_CHECKING:
    from workers.codec.signature import InputSpec

ROWS = [[1.5, 2.0], [3.25, 4.0]]
TABLE = pa.table({"0": [1.5, 3.25], "1": [2.0, 4.0]})


def schema_of(*names: Any) -> Schema:
    """Return the schema of a frame of doubles with these columns, as an MLmodel file has it."""
    frame = pd.DataFrame([[0.5] * len(names)], columns=pd.Index(list(names), dtype=object))
    schema: Schema = Schema.from_json(infer_signature(frame).inputs.to_json())
    return schema


NUMBERED = schema_of(0, 1)
BODIES: dict[str, Any] = {
    "split by number": {"dataframe_split": {"columns": [0, 1], "data": ROWS}},
    "split in another order": {"dataframe_split": {"columns": [1, 0], "data": [row[::-1] for row in ROWS]}},
    "split by text": {"dataframe_split": {"columns": ["0", "1"], "data": ROWS}},
    "split without names": {"dataframe_split": {"data": ROWS}},
    "records": {"dataframe_records": [{"0": a, "1": b} for a, b in ROWS]},
    "instances": {"instances": ROWS},
    "instances by name": {"instances": [{"0": a, "1": b} for a, b in ROWS]},
    "inputs": {"inputs": ROWS},
    "inputs by name": {"inputs": {"0": [1.5, 3.25], "1": [2.0, 4.0]}},
    "legacy": {"columns": [0, 1], "data": ROWS},
}
TAKEN_BY_MLFLOW = ("split by number", "split in another order", "split without names", "instances", "inputs")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_json(body: Any) -> None:
    """Each form gives the model the frame that MLflow gives it: its columns are the numbers."""
    reference = mlflow_input(BODIES["split by number"], NUMBERED)
    for enforced in (False, True):
        frame = model_input(body, NUMBERED, enforced=enforced)
        pd.testing.assert_frame_equal(frame, reference)


@pytest.mark.parametrize("name", BODIES)
def test_what_mlflow_takes(name: str) -> None:
    """MLflow's server takes numbers and rows, and gives the same frame; by text it finds no column."""
    if name in TAKEN_BY_MLFLOW:
        ours, theirs = model_input(BODIES[name], NUMBERED), mlflow_input(BODIES[name], NUMBERED)
        pd.testing.assert_frame_equal(ours, theirs)
    elif name != "legacy":
        with pytest.raises(MlflowException, match="missing inputs"):
            mlflow_input(BODIES[name], NUMBERED)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (CSV, tabular.csv_text(["0", "1"], ROWS)),
        (PARQUET, tabular.parquet_file(TABLE)),
        (ARROW, tabular.arrow_stream(TABLE)),
    ],
)
def test_tables(media_type: str, body: bytes) -> None:
    """CSV, Parquet and Arrow name the columns by the text of the number."""
    frame = tabular.model_input(body, media_type, NUMBERED)
    pd.testing.assert_frame_equal(frame, mlflow_input(BODIES["instances"], NUMBERED))


def test_open_inference() -> None:
    """An input is called by the text of the number."""
    tensors = [v2_bodies.tensor("1", "FP64", [2.0, 4.0]), v2_bodies.tensor("0", "FP64", [1.5, 3.25])]
    frame = v2_bodies.model_input(*tensors, schema=NUMBERED)
    pd.testing.assert_frame_equal(frame, mlflow_input(BODIES["instances"], NUMBERED))


def test_open_inference_with_mlflows_checks() -> None:
    """The names are those that MLflow looks for."""
    job = v2_bodies.make_job(v2_bodies.tensor("0", "FP64", [1.5]), v2_bodies.tensor("1", "FP64", [2.0]))
    frame = formats.decode(job, input_spec(NUMBERED, checks="mlflow")).data
    assert list(frame.columns) == [0, 1]


@pytest.mark.parametrize("names", [[0, 1], ["0", "1"]])
def test_large_bodies(names: list[Any]) -> None:
    """The fast path for large bodies takes both spellings."""
    rows = np.random.default_rng(5).random((2000, 2)).tolist()
    body = json.dumps({"dataframe_split": {"columns": names, "data": rows}}).encode()
    frame: Any = fast_numbers.read_numeric_frame(body, spec_of(NUMBERED))
    assert frame is not None
    pd.testing.assert_frame_equal(frame, mlflow_input({"instances": rows}, NUMBERED))


def test_rows_of_several_requests() -> None:
    """Both spellings can share a call of the model."""
    bodies = [json.dumps(BODIES[name]).encode() for name in ("split by number", "split by text", "records")]
    parsed = [parse_rows(Job(body), spec_of(NUMBERED)) for body in bodies]
    assert {rows.names for rows in parsed if rows is not None} == {("0", "1")}
    assert None not in parsed


def spec_of(schema: Schema) -> InputSpec:
    return input_spec(schema)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"dataframe_split": {"columns": [0, 2], "data": ROWS}}, "column '2'"),
        ({"dataframe_split": {"columns": [0, "0"], "data": ROWS}}, "twice"),
        ({"dataframe_split": {"columns": [0.5, 1], "data": ROWS}}, "column '0.5'"),
        ({"dataframe_split": {"columns": [True, False], "data": ROWS}}, "list of strings"),
        ({"dataframe_records": [{"0": 1.5}]}, "column '1'"),
        ({"dataframe_records": [{"a": 1.5, "b": 2}]}, "not a column"),
        ({"instances": [[1.5]]}, "column '1'"),
        ({"instances": [[1.5, 2, 3]]}, "column '2'"),
    ],
)
def test_rejected(body: Any, problem: str) -> None:
    """What does not fit is named by text, so that the error can be sent."""
    error = decode_error(body, NUMBERED)
    assert problem in str(error)
    assert all(isinstance(each.column, str | None) for each in error.details)


def test_cells_that_do_not_fit() -> None:
    """They are named by row and by the text of the column's number."""
    error = decode_error({"instances": [[1.5, 2], [1.5, "x"]]}, NUMBERED)
    assert [(problem.row, problem.column) for problem in error.details] == [(1, "1")]


@pytest.mark.parametrize("names", [(3, 5), (1, 0), (0, "a"), (0.5, 1.5), (1.0, 2.5), ("0", 1)])
def test_other_numbers(names: tuple[Any, ...]) -> None:
    """Numbers that are no positions, decimals, and numbers beside text, by number or text."""
    schema = schema_of(*names)
    for given in (list(names), list(map(str, names))):
        body = {"dataframe_split": {"columns": given, "data": ROWS}}
        frame = decode(body, schema).data
        assert list(frame.columns) == list(names)
        assert frame.to_numpy().tolist() == ROWS
    if 0 not in names[1:]:  # MLflow loses a column 0 that is not the first
        expected = mlflow_input({"dataframe_split": {"columns": list(names), "data": ROWS}}, schema)
        pd.testing.assert_frame_equal(frame, expected)


def test_a_whole_number_for_a_decimal() -> None:
    """1 is the column 1.0."""
    body = {"dataframe_split": {"columns": [1, 2.5], "data": ROWS}}
    assert list(decode(body, schema_of(1.0, 2.5)).data.columns) == [1.0, 2.5]


def test_numbers_for_names_of_text() -> None:
    """A frame without names, written by pandas, fits a signature that has the numbers as text."""
    frame = decode({"dataframe_split": {"columns": [0, 1], "data": ROWS}}, schema_of("0", "1")).data
    assert list(frame.columns) == ["0", "1"]


def test_rows_need_the_numbers_of_positions() -> None:
    """Rows without names are rejected if the columns are not 0, 1, …, as MLflow does."""
    assert "must name them" in str(decode_error({"instances": ROWS}, schema_of(3, 5)))


def test_optional_columns() -> None:
    """A frame that lacks an optional column has the numbers of the others."""
    schema = Schema([ColSpec(DataType.double, 0), ColSpec(DataType.long, 1, required=False)])  # type: ignore[arg-type] # as in files
    bodies: list[Any] = [
        {"dataframe_split": {"columns": [0], "data": [[1.5]]}},
        {"dataframe_split": {"columns": ["0"], "data": [[1.5]]}},
        {"dataframe_records": [{"0": 1.5}]},
        {"instances": [[1.5]]},
        {"dataframe_records": [{"0": 1.5, "1": None}]},
    ]
    for body in bodies:
        frame = model_input(body, schema)
        pd.testing.assert_frame_equal(frame, mlflow_input(bodies[0], schema))
    assert list(model_input({"instances": [[1.5, 2]]}, schema).columns) == [0, 1]


def test_nested_columns() -> None:
    """Columns of lists and objects are called by numbers too."""
    kinds: list[Any] = [Array(DataType.double), Object([Property("x", DataType.double)])]
    schema = Schema([ColSpec(kind, at) for at, kind in enumerate(kinds)])  # type: ignore[arg-type] # as above
    cells = [[[1.5], {"x": 2.5}]]
    reference = mlflow_input({"dataframe_split": {"columns": [0, 1], "data": cells}}, schema)
    for body in (
        {"dataframe_split": {"columns": [0, 1], "data": cells}},
        {"dataframe_records": [{"0": [1.5], "1": {"x": 2.5}}]},
        {"inputs": {"0": [1.5], "1": {"x": 2.5}}},
    ):
        frame = model_input(body, schema)
        assert list(frame.columns) == [0, 1]
        assert repr(frame.to_numpy().tolist()) == repr(reference.to_numpy().tolist())


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"0": [[1, 2]], "1": [3]}},
        {"instances": [{"0": [1, 2], "1": 3}]},
        {"dataframe_split": {"columns": [0, 1], "data": [[[1, 2], 3]]}},
        {"dataframe_split": {"columns": ["0", "1"], "data": [[[1, 2], 3]]}},
    ],
    ids=json.dumps,
)
def test_tensors(body: Any) -> None:
    """Tensors that are named by numbers reach the model under these, as in MLflow."""
    inputs: Schema = infer_signature({0: np.zeros((2, 2)), 1: np.zeros(2)}).inputs
    schema = Schema.from_json(inputs.to_json())
    arrays = model_input(body, schema)
    assert {name: array.tolist() for name, array in arrays.items()} == {0: [[1.0, 2.0]], 1: [3.0]}
    tensors = [v2_bodies.tensor("0", "FP64", [1, 2], [1, 2]), v2_bodies.tensor("1", "FP64", [3])]
    assert list(v2_bodies.model_input(*tensors, schema=schema)) == [0, 1]
    table = pa.table({"0": [[1.0, 2.0]], "1": [3.0]})
    assert list(tabular.model_input(tabular.arrow_stream(table), ARROW, schema)) == [0, 1]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ((True, False), "neither text nor a number"),
        ((float("nan"), "a"), "neither text nor a number"),
        ((("a", 1), ("b", 2)), "neither text nor a number"),
        ((0, "0"), "the same"),
        ((1, "1"), "the same"),
    ],
)
def test_names_that_no_body_can_say(names: tuple[Any, ...], problem: str) -> None:
    """Every body is rejected with the reason."""
    schema = Schema.from_json(
        json.dumps([{"type": "double", "name": name, "required": True} for name in names])
    )
    bodies = [*BODIES.values(), {"dataframe_split": {"columns": ["a", "b"], "data": ROWS}}]
    assert all(problem in str(decode_error(body, schema)) for body in bodies)
    with pytest.raises(InvalidInput, match=problem):
        tabular.model_input(tabular.arrow_stream(TABLE), ARROW, schema)
    with pytest.raises(InvalidInput, match=problem):
        v2_bodies.decode(v2_bodies.tensor("0", "FP64", [1.5]), schema=schema)


def test_a_name_of_zero_that_mlflow_loses() -> None:
    """If MLflow checks the input again, it would drop the tensor 0 that is not first: it is rejected."""
    specs: list[Any] = [TensorSpec(np.dtype("float64"), (-1,), name) for name in (1, 0)]  # type: ignore[arg-type] # as above
    error = decode_error({"inputs": {"0": [1.5], "1": [2.5]}}, Schema(specs))
    assert "MLflow loses it" in str(error)


def test_one_column() -> None:
    """A single column takes cells and rows."""
    schema = schema_of(0)
    for payload in ([1.5, 2.5], [[1.5], [2.5]]):
        frame = model_input({"instances": payload}, schema)
        pd.testing.assert_frame_equal(frame, mlflow_input({"instances": [1.5, 2.5]}, schema))
    assert list(model_input({"inputs": [1.5]}, column(DataType.double)).columns) == ["x"]
