"""Times whose T and Z are in lower case, as RFC 3339 allows, are taken in every format."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.models.utils import _enforce_params_schema
from mlflow.types.schema import (
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

from tests.support.codec import tabular, v2_bodies
from tests.support.codec.specs import column, decode, decode_error, model_input, split_body
from workers.protocol.messages import ARROW, CSV, PARQUET

NOON = pd.Timestamp("2024-01-01T12:00:00")
SPELLINGS = [
    "2024-01-01t12:00:00z",
    "2024-01-01t12:00:00",
    "2024-01-01T12:00:00z",
    "2024-01-01t12:00:00Z",
    "2024-01-01t14:00:00+02:00",
    "2024-01-01 12:00:00z",
    "20240101t120000z",
]
DATETIME = column(DataType.datetime)
TABLE = pa.table({"x": SPELLINGS})


@pytest.mark.parametrize(
    "body",
    [
        split_body(SPELLINGS),
        {"dataframe_records": [{"x": text} for text in SPELLINGS]},
        {"instances": [{"x": text} for text in SPELLINGS]},
        {"inputs": {"x": SPELLINGS}},
        {"columns": ["x"], "data": [[text] for text in SPELLINGS]},
        split_body(["2024-01-01T12:00:00", *SPELLINGS, None]),
    ],
    ids=lambda body: next(iter(body)),
)
def test_json(body: Any) -> None:
    """They are the times that they are in upper case, beside others too."""
    assert set(model_input(body, DATETIME)["x"].dropna()) == {NOON}


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (CSV, tabular.csv_text(["x"], [[text] for text in SPELLINGS])),
        (PARQUET, tabular.parquet_file(TABLE)),
        (ARROW, tabular.arrow_stream(TABLE)),
    ],
)
def test_tables(media_type: str, body: bytes) -> None:
    """In CSV, and in text columns of Parquet and Arrow."""
    assert set(tabular.model_input(body, media_type, DATETIME)["x"]) == {NOON}


def test_open_inference() -> None:
    """In BYTES, sent as JSON or raw."""
    for tensor in (
        v2_bodies.tensor("x", "BYTES", SPELLINGS),
        v2_bodies.binary_tensor("x", "BYTES", [text.encode() for text in SPELLINGS]),
    ):
        assert set(v2_bodies.model_input(tensor, schema=DATETIME)["x"]) == {NOON}


def test_arrays() -> None:
    """In arrays of datetimes."""
    schema = Schema([TensorSpec(np.dtype("datetime64[ns]"), (-1,))])
    assert set(model_input({"inputs": SPELLINGS}, schema).tolist()) == {NOON.value}


@pytest.mark.parametrize("text", SPELLINGS)
def test_nested(text: str) -> None:
    """In objects, lists and maps."""
    nested = Object([Property("at", DataType.datetime), Property("all", Array(DataType.datetime))])
    cell = model_input(split_body([{"at": text, "all": [text]}]), column(nested))["x"][0]
    assert (pd.Timestamp(cell["at"]), pd.Timestamp(cell["all"][0])) == (NOON, NOON)
    cell = model_input(split_body([{"k": text}]), column(Map(DataType.datetime)))["x"][0]
    assert pd.Timestamp(cell["k"]) == NOON


@pytest.mark.parametrize("text", SPELLINGS)
def test_params(text: str) -> None:
    """In params, which MLflow parses again."""
    schema = ParamSchema([ParamSpec("when", DataType.datetime, datetime.datetime(2024, 1, 2))])  # noqa: DTZ001 - MLflow's datetimes have no zone
    request = decode({**split_body([1.5]), "params": {"when": text}}, column(DataType.double), params=schema)
    enforced = _enforce_params_schema(request.params, schema)
    assert pd.Timestamp(enforced["when"]) == NOON


@pytest.mark.parametrize(
    "text",
    [
        "2024",
        "2024-01",
        "01/02/2024",
        "",
        "2024-01-01x12:00",
        "2024-01-01t12:00:00zz",
        "noon",
        "2024-13-01t00:00z",
    ],
)
def test_what_is_not_a_whole_iso_time_stays_rejected(text: str) -> None:
    """Years, months, other orders of day and month, and empty texts are rejected with their row."""
    error = decode_error(json.dumps(split_body(["2024-01-01t12:00:00z", text])).encode(), DATETIME)
    assert [(problem.row, problem.column) for problem in error.details] == [(1, "x")]
