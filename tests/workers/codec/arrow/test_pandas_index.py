"""An index that pandas stored is the index of the model's frame, as with MLflow's scoring server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.scoring_server import parse_parquet_input
from mlflow.types.schema import DataType, Schema, TensorSpec
from pandas.testing import assert_frame_equal

from tests.support.codec.specs import columns
from tests.support.codec.tabular import arrow_stream, decode_error, model_input, parquet_file
from workers.protocol.messages import ARROW, PARQUET

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED = columns((DataType.double, "a"), (DataType.string, "b"))
FRAME = pd.DataFrame({"a": [1.5, 2.5, 3.5], "b": ["x", "y", "z"]})
PAIRS = [(1, "p"), (1, "q"), (2, "p")]
INDEXES: dict[str, pd.Index[Any]] = {
    "shuffled": pd.Index([2, 0, 1]),
    "duplicates": pd.Index([1, 1, 2]),
    "named": pd.Index([7, 8, 9], name="id"),
    "named as a column": pd.Index([7, 8, 9], name="a"),
    "text": pd.Index(["p", "q", "p"]),
    "narrow": pd.Index([1, 2, 3], dtype="int8"),
    "decimals": pd.Index([0.5, np.nan, 1.5]),
    "booleans": pd.Index([True, False, True]),
    "bytes": pd.Index([b"p", b"q", b"r"]),
    "days": pd.date_range("2024-01-02", periods=3, freq="D"),
    "zoned": pd.date_range("2024-01-02", periods=3, tz="Europe/Berlin"),
    "durations": pd.to_timedelta([1, 2, 3], unit="s"),
    "categories": pd.CategoricalIndex(["p", "q", "p"]),
    "levels": pd.MultiIndex.from_tuples(PAIRS),
    "named levels": pd.MultiIndex.from_tuples(PAIRS, names=["id", None]),
    "range": pd.RangeIndex(5, 11, 2),
    "named range": pd.RangeIndex(0, 3, name="id"),
    "default": pd.RangeIndex(0, 3),
}


def _bodies(frame: pd.DataFrame) -> Iterator[tuple[bytes, str]]:
    yield parquet_file(pa.Table.from_pandas(frame)), PARQUET
    yield arrow_stream(pa.Table.from_pandas(frame)), ARROW


@pytest.mark.filterwarnings("ignore:DatetimeIndex.values")  # pyarrow, when it writes zoned times
@pytest.mark.parametrize("schema", [NAMED, None])
@pytest.mark.parametrize("name", INDEXES)
def test_every_index(name: str, schema: Schema | None) -> None:
    """The model gets the frame that MLflow's server gives it: the index, its dtype and its names."""
    frame = FRAME.set_axis(INDEXES[name], axis=0)
    expected = parse_parquet_input(pa.BufferReader(frame.to_parquet()))
    if schema is not None:
        expected = _enforce_schema(expected, schema)
    for body, media_type in _bodies(frame):
        actual = model_input(body, media_type, schema)
        assert_frame_equal(actual, expected)
        assert actual.index.identical(expected.index)


def test_columns_of_the_signature() -> None:
    """A column that the signature names is a column, also if pandas had it as the index."""
    for body, media_type in _bodies(FRAME.set_index("b")):
        assert_frame_equal(model_input(body, media_type, NAMED), FRAME)
    for body, media_type in _bodies(FRAME.assign(id=[7, 8, 9]).set_index(["b", "id"])):
        expected = FRAME.set_axis(pd.Index([7, 8, 9], name="id"), axis=0)
        assert_frame_equal(model_input(body, media_type, NAMED), expected)


def test_signatures_without_names() -> None:
    """The index is no column, unless the table without it has too few."""
    nameless = columns((DataType.double, None), (DataType.string, None))
    for body, media_type in _bodies(FRAME.set_axis([2, 0, 1], axis=0)):
        assert model_input(body, media_type, nameless, enforced=False).index.tolist() == [2, 0, 1]
    for body, media_type in _bodies(FRAME.set_index("b")):
        assert model_input(body, media_type, nameless, enforced=False).shape == (3, 2)


def test_tensors() -> None:
    """An array has no index, so it is left out."""
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": [3.5, 4.5]}, index=[7, 8])
    one = Schema([TensorSpec(np.dtype(np.float64), (-1, 2))])
    named = Schema([TensorSpec(np.dtype(np.float64), (-1,), name) for name in ("a", "b")])
    for body, media_type in _bodies(frame):
        np.testing.assert_array_equal(model_input(body, media_type, one), frame.to_numpy())
        assert list(model_input(body, media_type, named)) == ["a", "b"]


def test_other_unknown_columns() -> None:
    """They are rejected by their names, and the index is not named."""
    for body, media_type in _bodies(FRAME.assign(z=1).set_axis([2, 0, 1], axis=0)):
        assert [cell.column for cell in decode_error(body, media_type, NAMED).details] == ["z"]


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"index_columns": 5}',
        b'{"index_columns": ["id"]}',
        b'{"index_columns": [["id"]], "columns": []}',
        b'{"index_columns": ["id"], "columns": [{"name": []}]}',
        b'{"index_columns": ["id"], "columns": [{"name": ["i"], "field_name": "id"}]}',
        b'{"index_columns": ["other"], "columns": []}',
        b'{"index_columns": [{"kind": "range"}]}',
        b'{"index_columns": [{"kind": "range", "name": null, "start": 0, "stop": 9, "step": 0}]}',
        b'{"index_columns": [{"kind": "range", "name": null, "start": 0, "stop": %d, "step": 1}]}' % 2**62,
    ],
)
def test_damaged_metadata(metadata: bytes) -> None:
    """It is ignored, and the columns are the table's."""
    table = pa.table({"id": [7, 8], "a": [1.5, 2.5]}).replace_schema_metadata({b"pandas": metadata})
    for body, media_type in ((arrow_stream(table), ARROW), (parquet_file(table), PARQUET)):
        actual = model_input(body, media_type, None)
        assert_frame_equal(actual, pd.DataFrame({"id": [7, 8], "a": [1.5, 2.5]}))


def test_exact_labels() -> None:
    """Integers that a null would round are not rounded, as in columns."""
    index = pd.Index([2**53 + 1, None, 1], dtype="Int64")
    for body, media_type in _bodies(FRAME.set_axis(index, axis=0)):
        assert model_input(body, media_type, NAMED).index.tolist() == [2**53 + 1, None, 1]


def test_a_frame_of_an_index_alone() -> None:
    """A signature's columns are missing then; a model without signature gets as many rows."""
    frame = pd.DataFrame(index=pd.Index([7, 8], name="id"))
    for body, media_type in _bodies(frame):
        assert "missing" in str(decode_error(body, media_type, NAMED).details)
        assert_frame_equal(model_input(body, media_type, None), frame, check_column_type=False)


def test_metadata_of_a_huge_table() -> None:
    """Metadata beyond its limit is not parsed."""
    table = pa.table({"id": [7], "a": [1.5]})
    document = {"index_columns": ["id"], "columns": [{"name": "id", "pandas_type": "int64"}]}
    for padding, names in ((0, ["a"]), (16 * 2**20, ["id", "a"])):
        metadata = json.dumps(document).encode() + b" " * padding
        body = arrow_stream(table.replace_schema_metadata({b"pandas": metadata}))
        assert list(model_input(body, ARROW, None)) == names
