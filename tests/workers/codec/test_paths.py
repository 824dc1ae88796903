"""The fast and the exact path make equal columns; with MLflow's checks the input is MLflow's own."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.pyfunc import scoring_server
from mlflow.types.schema import DataType

from tests.support.codec.specs import columns, input_spec, json_body
from workers.codec import formats
from workers.codec.inputs import scalars
from workers.errors import InvalidInput
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

EDGES = [0, -1, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**400]
NUMBERS = st.one_of(
    st.integers(-5, 5), st.sampled_from(EDGES), st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.one_of(
    st.text(max_size=4),
    st.sampled_from(
        ["", "YQ==", "2024-01-02", "2024-01-02T03:04:05.6Z", "2024-01-02 03:04+02:00", "9999-01-01"]
    ),
)
OTHERS = st.one_of(st.none(), st.booleans())
OF_TYPE = {
    DataType.boolean: OTHERS,
    DataType.integer: NUMBERS,
    DataType.long: NUMBERS,
    DataType.float: NUMBERS,
    DataType.double: NUMBERS,
    DataType.string: TEXTS,
    DataType.binary: TEXTS,
    DataType.datetime: TEXTS,
}


def values_of(data_type: DataType) -> st.SearchStrategy[list[Any]]:
    """Return a strategy of columns, most of which fit the type."""
    fitting = OF_TYPE[data_type]
    return st.one_of(
        st.lists(fitting, max_size=6), st.lists(st.one_of(fitting, OTHERS, NUMBERS, TEXTS), max_size=6)
    )


def outcome(
    converter: scalars.ScalarConverter, values: Sequence[object]
) -> tuple[pd.Series | None, list[tuple[int, str]]]:
    """Return the converted values as a Series, or None, and the errors."""
    converted, errors = converter.convert(values)
    return (None if errors else pd.Series(converted)), errors


@pytest.mark.parametrize("data_type", list(OF_TYPE), ids=lambda data_type: data_type.name)
@given(draw=st.data())
@settings(max_examples=300)
def test_the_fast_path_is_the_exact_one(data_type: DataType, draw: st.DataObject) -> None:
    """With and without a check of each value, the columns and dtypes or the errors are equal."""
    values = draw.draw(values_of(data_type))
    fast = scalars.CONVERTERS[data_type]
    exact = replace(fast, fast_types=frozenset())
    (converted, errors), (expected, expected_errors) = outcome(fast, values), outcome(exact, values)
    assert errors == expected_errors
    if converted is not None and expected is not None:
        pd.testing.assert_series_equal(converted, expected, check_exact=True)


MIXED = columns(
    (DataType.long, "count"),
    (DataType.double, "weight"),
    (DataType.string, "label"),
    (DataType.boolean, "flag"),
)
CELLS = st.one_of(NUMBERS.filter(lambda value: abs(value) < 10**300), TEXTS, OTHERS)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), min_size=1, max_size=3)
NAMES = ["count", "weight", "label", "flag"]


def documents(rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the rows in each of MLflow's forms."""
    records = [dict(zip(NAMES, row, strict=True)) for row in rows]
    return [
        {"dataframe_split": {"columns": NAMES, "data": [list(row) for row in rows]}},
        {"dataframe_records": records},
        {"instances": records},
        {"inputs": {name: [record[name] for record in records] for name in NAMES}},
    ]


def mlflow_input(body: bytes, spec: Any) -> Any:
    """Return the input that the scoring server's functions make, or None if they raise."""
    try:
        return scoring_server._parse_json_data(body.decode(), spec.metadata, spec.schema).data
    except Exception:  # noqa: BLE001 - whatever MLflow, pandas and numpy raise rejects the body
        return None


@given(rows=ROWS)
@settings(max_examples=200)
def test_mlflows_own_checks_are_mlflows_own(rows: list[tuple[Any, ...]]) -> None:
    """With `mlflow` checks the model gets the scoring server's input, lossy casts included."""
    spec = input_spec(MIXED, checks="mlflow")
    for document in documents(rows):
        body = json_body(document)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about lossy casts, which `mlflow` checks allow
            expected = mlflow_input(body, spec)
            try:
                actual = formats.decode(Job(body), spec).data
            except InvalidInput:
                actual = None
        assert is_same(actual, expected), json.dumps(document)


def is_same(actual: Any, expected: Any) -> bool:
    """Return whether type, values, dtypes, columns and index are equal; NaN equals NaN."""
    if type(actual) is not type(expected):
        return False
    if isinstance(actual, pd.DataFrame):
        pd.testing.assert_frame_equal(actual, expected, check_exact=True)
        return True
    if isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(
            is_same(actual[name], expected[name]) for name in actual
        )
    if isinstance(actual, np.ndarray):
        return actual.dtype == expected.dtype and repr(actual.tolist()) == repr(expected.tolist())
    return repr(actual) == repr(expected)
