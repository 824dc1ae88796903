"""Proves how unusual JSON of MLflow is parsed."""

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
    """The last by step, then by time, at any position in the list; NaN is written as text."""
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


def test_the_newest_value_of_a_models_metric_counts() -> None:
    """By time first, since the steps of several runs cannot be compared; then by step."""
    points = [
        {"key": "a", "value": 3.0, "step": 1, "timestamp": 9, "run_id": "two"},
        {"key": "a", "value": 2.0, "step": 2, "timestamp": 1, "run_id": "one"},
        {"key": "b", "value": 1.0, "step": 2, "timestamp": 1},
        {"key": "b", "value": 2.0, "step": 1, "timestamp": 1},
    ]
    model = records.parse_logged_model({"info": {"model_id": "m-1"}, "data": {"metrics": points}})
    assert {key: (point.value, point.run_id) for key, point in model.points.items()} == {
        "a": (3.0, "two"),
        "b": (1.0, ""),
    }


@pytest.mark.parametrize(
    ("text", "status", "ready"),
    [
        ("LOGGED_MODEL_READY", "READY", True),
        ("READY", "READY", True),
        ("", "READY", True),
        ("LOGGED_MODEL_PENDING", "PENDING", False),
        ("LOGGED_MODEL_UPLOAD_FAILED", "UPLOAD_FAILED", False),
    ],
)
def test_the_status_of_a_logged_model(text: str, status: str, *, ready: bool) -> None:
    """Without MLflow's prefix; a server that has no status only knows finished models."""
    model = records.parse_logged_model({"info": {"model_id": "m-1", "status": text}})
    assert (model.status, model.ready) == (status, ready)


def test_integers_may_be_texts_and_ids_integers() -> None:
    """Protobuf's JSON has 64-bit integers as text; some servers write ids as numbers."""
    found = run()
    assert (found.run_id, found.experiment_id, found.started) == ("r", "7", 1_700_000_000_000)


@pytest.mark.parametrize("history", ["[{", "{}", '"x"', '[1, {"artifact_path": ""}]', ""])
def test_an_invalid_history_is_ignored(history: str) -> None:
    """MLflow truncates long tags: the model of such a run cannot be located."""
    assert run(tags=[{"key": "mlflow.log-model.history", "value": history}]).logged_models == ()


def test_a_model_id_is_taken_from_the_source() -> None:
    """MLflow 3.17 omits the field; a registered model's name may begin with m- too."""
    base = {"name": "wine", "version": "1"}
    assert records.parse_version({**base, "source": "models:/m-1"}).model_id == "m-1"
    assert records.parse_version({**base, "source": "models:/m-1/2"}).model_id == ""
    assert records.parse_version({**base, "source": "s3://b/m-1", "model_id": "m-2"}).model_id == "m-2"


@pytest.mark.parametrize("info", [{}, {"run_id": ""}, {"run_id": None}, {"run_id": "x"}])
def test_a_record_without_its_id_is_an_error(info: dict[str, object]) -> None:
    """The id and the experiment's id of a run are required."""
    with pytest.raises(BadUpstreamResponse, match="MLflow's response lacks the required field"):
        records.parse_run({"info": info})
