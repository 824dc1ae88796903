"""Params must be known and of the signature's type; MLflow adds the defaults of absent ones."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from mlflow.models.utils import _enforce_params_schema
from mlflow.types.schema import DataType, Object, ParamSchema, ParamSpec, Property

from tests.support.codec.specs import SENTINEL, column, decode, decode_error

WHEN = datetime.datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001 - MLflow's datetimes have no zone
SETTINGS = Object([Property("depth", DataType.long), Property("name", DataType.string, required=False)])
PARAMS = ParamSchema(
    [
        ParamSpec("count", DataType.long, 3),
        ParamSpec("small", DataType.integer, 3),
        ParamSpec("size", DataType.double, 0.5),
        ParamSpec("narrow", DataType.float, np.float32(0.5)),
        ParamSpec("name", DataType.string, "n"),
        ParamSpec("open", DataType.boolean, default=True),
        ParamSpec("when", DataType.datetime, WHEN),
        ParamSpec("counts", DataType.long, [1, 2], shape=(-1,)),
        ParamSpec("sizes", DataType.double, [0.5], shape=(-1,)),
        ParamSpec("most", DataType.long, None),
        ParamSpec("settings", SETTINGS, {"depth": 1}),
    ]
)
INPUTS = column(DataType.double)


def enforced_params(params: Any) -> Any:
    """Return the params as the model gets them, after MLflow's own check."""
    validated = decode({"inputs": [1.5], "params": params}, INPUTS, params=PARAMS).params
    return _enforce_params_schema(validated, PARAMS)


@pytest.mark.parametrize("params", [None, {}])
def test_defaults_are_kept(params: Any) -> None:
    """Without params the model gets the signature's defaults."""
    assert enforced_params(params) == {spec.name: spec.default for spec in PARAMS.params}


@pytest.mark.parametrize(
    ("name", "sent", "received"),
    [
        ("count", 2**63 - 1, 2**63 - 1),
        ("count", 2.0, 2),
        ("small", 7, 7),
        ("size", 2, 2.0),
        ("size", 0.1, 0.1),
        ("narrow", 0.5, 0.5),
        ("name", "x", "x"),
        ("open", False, False),
        ("when", "2024-01-02T03:04:05", WHEN),
        ("when", "2024-01-02T05:04:05+02:00", WHEN),
        ("when", "2024-01-02", datetime.date(2024, 1, 2)),
        ("counts", [4, 5.0], [4, 5]),
        ("counts", [], []),
        ("sizes", [1, None], [1.0, None]),
        ("most", None, None),
        ("most", 4, 4),
        ("size", None, None),
        ("narrow", None, None),
        ("name", None, None),
        ("when", None, None),
        ("settings", {"depth": 2, "name": "x"}, {"depth": 2, "name": "x"}),
    ],
)
def test_a_valid_param(name: str, sent: Any, received: Any) -> None:
    """The model gets the value in the signature's Python type, beside the defaults of the others."""
    validated = enforced_params({name: sent})
    assert validated[name] == received
    assert type(validated[name]) is type(received)
    assert len(validated) == len(PARAMS.params)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unknown", 1),
        ("count", 2.7),
        ("count", "2"),
        ("count", True),
        ("count", None),
        ("small", None),
        ("open", None),
        ("counts", None),
        ("counts", [1, None]),
        ("most", 2.7),
        ("small", 3_000_000_000),
        ("size", "1.5"),
        ("size", 2**53 + 1),
        ("narrow", 1e39),
        ("name", 5),
        ("open", "false"),
        ("open", 1),
        ("when", 1704164645),
        ("when", SENTINEL),
        ("counts", 5),
        ("counts", [[1], [1, 2]]),
        ("counts", [1, 2.5]),
        ("settings", {"depth": "2"}),
        ("settings", {"depth": 1, "x": SENTINEL}),
        ("settings", [1]),
        ("count", [1]),
        ("count", {SENTINEL: SENTINEL}),
    ],
)
def test_rejected(name: str, value: Any) -> None:
    """Unknown params and values that would change are rejected, with the name and without the value."""
    error = decode_error({"inputs": [1.5], "params": {name: value}}, INPUTS, params=PARAMS)
    assert [(problem.row, problem.column) for problem in error.details] == [(None, name)]
    assert "params" in str(error)


def test_params_of_no_signature() -> None:
    """A model without params rejects them; MLflow would drop them with a warning in its log."""
    assert decode_error({"inputs": [1.5], "params": {"a": 1}}, INPUTS).details[0].column == "a"
    assert decode({"inputs": [1.5], "params": {}}, INPUTS).params is None
    for params in ([], [1], "x", 5, False):
        assert "object" in str(decode_error({"inputs": [1.5], "params": params}, INPUTS, params=PARAMS))
