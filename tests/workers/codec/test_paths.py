"""Two ways to the same frame: the fast and the exact path, the codec and MLflow's own functions."""

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

from tests.support.codec.plans import columns, encoded, plan
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


def values_of(kind: DataType) -> st.SearchStrategy[list[Any]]:
    """Columns that mostly hold what the type holds, and now and then what it does not."""
    fitting = OF_TYPE[kind]
    return st.one_of(
        st.lists(fitting, max_size=6), st.lists(st.one_of(fitting, OTHERS, NUMBERS, TEXTS), max_size=6)
    )


def outcome(
    rule: scalars.ScalarConverter, values: Sequence[object]
) -> tuple[pd.Series | None, list[tuple[int, str]]]:
    """What a rule makes of the values, as a Series."""
    built, bad = rule.convert(values)
    return (None if bad else pd.Series(built)), bad


@pytest.mark.parametrize("kind", list(OF_TYPE), ids=lambda kind: kind.name)
@given(draw=st.data())
@settings(max_examples=300, deadline=None)
def test_the_fast_path_is_the_exact_one(kind: DataType, draw: st.DataObject) -> None:
    """Asking every value, or none: equal columns of equal dtypes, or the same cells refused."""
    values = draw.draw(values_of(kind))
    fast = scalars.CONVERTERS[kind]
    exact = replace(fast, fast_types=frozenset())
    (built, bad), (wanted, known) = outcome(fast, values), outcome(exact, values)
    assert bad == known
    if built is not None and wanted is not None:
        pd.testing.assert_series_equal(built, wanted, check_exact=True)


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
    """The rows in each of MLflow's forms."""
    records = [dict(zip(NAMES, row, strict=True)) for row in rows]
    return [
        {"dataframe_split": {"columns": NAMES, "data": [list(row) for row in rows]}},
        {"dataframe_records": records},
        {"instances": records},
        {"inputs": {name: [record[name] for record in records] for name in NAMES}},
    ]


def by_mlflow(body: bytes, checks: Any) -> Any:
    """What the scoring server's own functions hand to the model; None where they refuse."""
    try:
        return scoring_server._parse_json_data(body.decode(), checks.metadata, checks.schema).data
    except Exception:  # noqa: BLE001 - whatever MLflow, pandas and numpy raise is a refusal
        return None


@given(rows=ROWS)
@settings(max_examples=200, deadline=None)
def test_mlflows_own_checks_are_mlflows_own(rows: list[tuple[Any, ...]]) -> None:
    """With `mlflow` for input checks the model gets what the scoring server gives it, lossy casts and all."""
    relaxed = plan(MIXED, checks="mlflow")
    for document in documents(rows):
        body = encoded(document)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of casts that lose something: that is what was asked for
            wanted = by_mlflow(body, relaxed)
            try:
                made = formats.decode(Job(body), relaxed).data
            except InvalidInput:
                made = None
        assert same(made, wanted), json.dumps(document)


def same(made: Any, wanted: Any) -> bool:
    """Equal in kind, values, dtypes, columns and index; NaN equals NaN."""
    if type(made) is not type(wanted):
        return False
    if isinstance(made, pd.DataFrame):
        pd.testing.assert_frame_equal(made, wanted, check_exact=True)
        return True
    if isinstance(made, dict):
        return made.keys() == wanted.keys() and all(same(made[name], wanted[name]) for name in made)
    if isinstance(made, np.ndarray):
        return made.dtype == wanted.dtype and repr(made.tolist()) == repr(wanted.tolist())
    return repr(made) == repr(wanted)
