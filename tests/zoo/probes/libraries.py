"""Inputs of the models that libraries train."""

from __future__ import annotations

from typing import Any

from tests.zoo.forms import JSON_FORMS
from tests.zoo.samples import Entry, Probe, Table, Tensor, Tensors

ABC = {"a": [1.5, -2.0, 0.25], "b": [0.5, 1.0, -3.5], "c": [2.0, 0.0, 1e-3]}
THREE = Probe("rows", Table(ABC))
ONE = Probe("one row", Table({name: cells[:1] for name, cells in ABC.items()}))
WHOLE = Probe("whole numbers", Table({"a": [1, 2], "b": [3, 4], "c": [5, 6]}))
FLOWERS = {
    "sepal length": [5.1, 7.0, 6.3],
    "sepal width": [3.5, 3.2, 3.3],
    "petal length": [1.4, 4.7, 6.0],
    "petal width": [0.2, 1.4, 2.5],
}
FLOWER_ROWS = Probe("rows", Table(FLOWERS))
HOMES: dict[str, list[Any]] = {
    "city": ["Bern", "Köln", "Lyon"],
    "day": ["2024-03-01T00:00:00", "2024-05-17T12:30:00", "2025-01-01T00:00:00"],
    "size": [55.5, 120.0, 31.25],
    "rooms": [2, 5, 1],
}
ARRAY = [[1.5, 0.5, 2.0], [-2.0, 1.0, 0.0]]


def homes(**columns: list[Any]) -> Table:
    """Homes with other cells in some columns."""
    return Table({**HOMES, **columns}, times=("day",))


LINEAR = (
    THREE,
    ONE,
    WHOLE,
    Probe("other order", Table(dict(reversed(ABC.items())))),
    Probe("column missing", Table({"a": [1.0], "b": [2.0]})),
    Probe("column unknown", Table({**ABC, "d": [1.0, 2.0, 3.0]})),
    Probe("text", Table({**ABC, "a": ["1.5", "2", "x"]})),
    Probe("digits as text", Table({**ABC, "a": ["1.5", "2", "3"]})),
    Probe("booleans", Table({**ABC, "a": [True, False, True]})),
    Probe("null", Table({**ABC, "a": [1.0, None, 2.0]})),
)
PIPELINE = (
    Probe("rows", homes()),
    Probe("city never seen", homes(city=["Bern", "Rom", "Lyon"])),
    Probe("days alone", homes(day=["2024-03-01", "2024-05-17", "2025-01-01"])),
    Probe(
        "days in UTC",
        homes(day=["2024-03-01T00:00:00Z", "2024-05-17T12:30:00Z", "2025-01-01T00:00:00Z"]),
        like=homes(),
    ),
    Probe(
        "days with offsets",
        homes(day=["2024-03-01T02:00:00+02:00", "2024-05-17T12:30:00Z", "2025-01-01T00:00:00Z"]),
        like=homes(),
    ),
    Probe("days in two forms", homes(day=["2024-03-01", "2024-05-17T12:30:00", "2025-01-01"]), like=homes()),
    Probe("days as numbers", homes(day=[1704164645, 1704164646, 1704164647])),
    Probe("no day", homes(day=["2024-03-01", "2025-01-01", "not a day"])),
    Probe("city as number", homes(city=[5, 6, 7]), forms=JSON_FORMS),
    Probe("city null", homes(city=["Bern", None, "Lyon"])),
    Probe("rooms with fraction", homes(rooms=[2.7, 5, 1])),
    Probe("rooms null", homes(rooms=[2, None, 1])),
)

ENTRIES = (
    Entry("sk-linear", LINEAR),
    Entry("sk-pipeline", PIPELINE),
    Entry("sk-labels", (FLOWER_ROWS,)),
    Entry("sk-outputs", (FLOWER_ROWS,)),
    Entry("sk-clusters", (FLOWER_ROWS,)),
    Entry("sk-scaler", (FLOWER_ROWS,)),
    Entry("sk-probabilities", (FLOWER_ROWS,)),
    Entry(
        "sk-forest",
        (
            Probe("rows", Table({"x": [1, 40], "y": [30, 2]})),
            Probe("fraction", Table({"x": [1.5], "y": [2]})),
        ),
    ),
    Entry(
        "sk-unsigned",
        (
            THREE,
            ONE,
            Probe("array", Tensor(ARRAY)),
            Probe("digits as text", Table({**ABC, "a": ["1", "2", "3"]})),
        ),
    ),
    Entry(
        "sk-tensor",
        (
            Probe("array", Tensor([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])),
            Probe("too narrow", Tensor([[5.1, 3.5, 1.4]])),
            Probe("table", Table(FLOWERS), forms=("dataframe_split", "dataframe_records")),
        ),
    ),
    Entry("xgb-regressor", (THREE, ONE, WHOLE, Probe("null", Table({**ABC, "a": [1.0, None, 2.0]})))),
    Entry("xgb-booster", (THREE, ONE)),
    Entry("lgb-classifier", (THREE, ONE)),
    Entry("lgb-booster", (THREE, Probe("null", Table({**ABC, "a": [1.0, None, 2.0]})))),
    Entry("sm-ols", (THREE, ONE)),
    Entry(
        "onnx-regression",
        (Probe("array", Tensors({"X": ARRAY})), Probe("too narrow", Tensors({"X": [[1.0, 2.0]]}))),
    ),
    Entry(
        "torch-layer",
        (Probe("array", Tensor(ARRAY)), Probe("too narrow", Tensor([[1.0, 2.0]]))),
        needs="torch",
    ),
)
