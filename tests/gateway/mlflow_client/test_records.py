"""Odd JSON of MLflow's, read without surprise."""

from __future__ import annotations

import math

import pytest

from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client import records


def run(**data: object) -> records.Run:
    return records.parse_run(
        {"info": {"run_uuid": "r", "experiment_id": 7, "start_time": "1700000000000"}, "data": data}
    )


def test_the_last_value_of_a_metric_counts() -> None:
    """By step, then by time, wherever it stands in the list; NaN comes as text."""
    points = [
        {"key": "a", "value": 2.0, "step": 2, "timestamp": 1},
        {"key": "a", "value": 1.0, "step": 1, "timestamp": 9},
        {"key": "n", "value": "NaN"},
        {"key": "i", "value": 1.7976931348623157e308},
        {"key": "odd", "value": {"no": "number"}},
        {"key": "text", "value": "much"},
    ]
    metrics = run(metrics=points).metrics
    assert (metrics["a"], metrics["i"]) == (2.0, 1.7976931348623157e308)
    assert all(math.isnan(metrics[key]) for key in ("n", "odd", "text"))


def test_numbers_and_texts_may_change_places() -> None:
    """Proto JSON writes 64-bit integers as text; some servers write ids as numbers."""
    found = run()
    assert (found.run_id, found.experiment_id, found.started) == ("r", "7", 1_700_000_000_000)


@pytest.mark.parametrize("history", ["[{", "{}", '"x"', '[1, {"artifact_path": ""}]', ""])
def test_a_history_that_cannot_be_read_is_none(history: str) -> None:
    """MLflow cuts long tags off: such a run has no model that could be located."""
    assert run(tags=[{"key": "mlflow.log-model.history", "value": history}]).logged_models == ()


def test_a_model_id_is_taken_from_the_source() -> None:
    """MLflow 3.17 leaves the field out; a registered model's name may begin with m- too."""
    base = {"name": "wine", "version": "1"}
    assert records.parse_version({**base, "source": "models:/m-1"}).model_id == "m-1"
    assert records.parse_version({**base, "source": "models:/m-1/2"}).model_id == ""
    assert records.parse_version({**base, "source": "s3://b/m-1", "model_id": "m-2"}).model_id == "m-2"


@pytest.mark.parametrize("info", [{}, {"run_id": ""}, {"run_id": None}, {"run_id": "x"}])
def test_a_nameless_thing_is_wrong(info: dict[str, object]) -> None:
    """Nothing can be said of it."""
    with pytest.raises(BadUpstreamResponse, match="MLflow's answer has no"):
        records.parse_run({"info": info})
