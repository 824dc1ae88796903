"""Objects in cells, through MLflow's own check of them: every scalar type, given or null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.types.schema import AnyType, Array, DataType, Map, Object, Property

from tests.support.codec.plans import column, data, read, refused, split

SENT: dict[str, Any] = {
    "boolean": True,
    "integer": 7,
    "long": 2.0,
    "float": 0.5,
    "double": 2,
    "string": "a",
    "binary": "aGk=",
    "datetime": "2024-01-02T01:00+01:00",
}
GOT = {**SENT, "binary": b"hi", "datetime": pd.Timestamp("2024-01-02")}
EVERY = Object([Property(name, DataType[name], required=False) for name in SENT])


def test_every_scalar_in_an_object() -> None:
    """MLflow would refuse the 32 bit types, the double and the time as JSON has them."""
    assert data(split([SENT]), column(EVERY))["x"].tolist() == [GOT]
    nulls = dict.fromkeys(SENT)
    assert data(split([nulls, {}]), column(EVERY))["x"].tolist() == [nulls, {}]


def test_null_in_a_required_property() -> None:
    """A double holds it as NaN; nothing else does."""
    cell = data(split([{"k": None}]), column(Object([Property("k", DataType.double)])))["x"][0]
    assert np.isnan(cell["k"])
    error = refused(split([{"k": None}]), column(Object([Property("k", DataType.string)])))
    assert "at k: null" in error.details[0].reason


def test_null_for_the_whole_cell() -> None:
    """An optional column's cells, and lists and maps of anything, can be null."""
    for kind in (EVERY, Array(DataType.long), Map(DataType.long)):
        assert read(split([None]), column(kind, required=False)).data["x"].tolist() == [None]
        assert refused(split([None]), column(kind)).details[0].row == 0
    for kind in (Array(AnyType()), Map(AnyType())):
        assert data(split([None]), column(kind))["x"].tolist() == [None]


def test_bytes_in_cells() -> None:
    """Base64 arrives as the bytes that it stands for, in an object also with a NUL at its end."""
    assert data(split([["aGk=", ""], []]), column(Array(DataType.binary)))["x"].tolist() == [[b"hi", b""], []]
    assert data(split([[["aGk="]]]), column(Array(Array(DataType.binary))))["x"].tolist() == [[[b"hi"]]]
    kind = Object([Property("b", DataType.binary)])
    assert data(split([{"b": "aGkA"}]), column(kind))["x"].tolist() == [{"b": b"hi\0"}]


def test_times_in_lists() -> None:
    """They arrive as times of no zone."""
    (cell,) = data(split([["2024-01-02T01:00+01:00", None]]), column(Array(DataType.datetime)))["x"]
    assert cell.dtype == "datetime64[ns]"
    assert [pd.Timestamp("2024-01-02"), pd.NaT] == list(map(pd.Timestamp, cell))
