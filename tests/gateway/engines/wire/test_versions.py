"""Versions and states as JSON: numbers that are not finite arrive, and wrong fields are refused."""

from __future__ import annotations

from math import isnan
from typing import Any

import orjson
import pytest

from gateway.domain.models import ModelVersion
from gateway.engines.wire.fields import WireError
from gateway.engines.wire.state import NodeState, state_from_dict, state_to_dict
from gateway.engines.wire.versions import version_from_dict, version_to_dict

VERSION = ModelVersion("wine", "3", "registry", "READY", "models:/wine/3", "f")


def sent(version: ModelVersion) -> ModelVersion:
    return version_from_dict(orjson.loads(orjson.dumps(version_to_dict(version))))


def test_metrics_that_are_not_finite_arrive() -> None:
    """MLflow's metrics may be NaN and infinite, for which JSON has no form."""
    metrics = {"nan": float("nan"), "inf": float("inf"), "low": float("-inf"), "one": 1.0}
    arrived = dict(sent(ModelVersion("a", "1", "experiment", "READY", "u", "f", metrics=metrics)).metrics)
    assert isnan(arrived.pop("nan"))
    assert arrived == {"inf": float("inf"), "low": float("-inf"), "one": 1.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 1},
        {"source": "elsewhere"},
        {"aliases": [1]},
        {"tags": {"a": 1}},
        {"metrics": {"a": "1"}},
        {"metrics": {"a": True}},
        {"created": "yesterday"},
        {"created": "2026-01-01T00:00:00"},
    ],
    ids=str,
)
def test_a_version_with_a_wrong_field_is_refused(wrong: dict[str, Any]) -> None:
    """Each field has one type, and a time has its zone."""
    with pytest.raises(WireError):
        version_from_dict({**version_to_dict(VERSION), **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": [{"key": ["a", "1"], "state": "warm", "workers": 1}]},
        {"models": [{"key": ["a", "1", "f"], "state": "hot", "workers": 1}]},
        {"memory": {"base_bytes": -1}},
        {"spawn_failing_seconds": "NaN"},
        {"draining": 1},
        {"running_environments": [None]},
    ],
    ids=str,
)
def test_a_state_with_a_wrong_field_is_refused(wrong: dict[str, Any]) -> None:
    """A gateway believes a node's numbers, and so takes no others than can be."""
    with pytest.raises(WireError):
        state_from_dict({**state_to_dict(NodeState()), **wrong})
