"""Proves the form of the history that pages draw."""

from __future__ import annotations

import orjson

from gateway.telemetry.history.step import MAX_VERSIONS, Step, VersionFigures
from gateway.telemetry.history.view import build_view
from tests.gateway.telemetry.history.snapshots import BUCKETS


def figures(model: str, version: str, requests: int, errors: int = 0) -> VersionFigures:
    latencies = [requests - errors if index == 3 else 0 for index in range(BUCKETS)]
    return VersionFigures(model, version, requests, errors, latencies)


def test_no_steps() -> None:
    """Every series is there, and empty."""
    view = build_view(())
    assert view["times"] == view["waiting"] == view["requests"]["2xx"] == view["latency_ms"]["p99"] == []
    assert view["models"] == view["memory"]["models"] == {}


def test_series_are_as_long_as_the_times() -> None:
    """Rates are per second of the step; a quantile without requests is null, and a model without memory 0."""
    latencies = [10 if index == 0 else 0 for index in range(BUCKETS)]
    steps = [
        Step(5, 5.0, {"2xx": 10}, latencies, 5, 1, 7, 100, [("a", "1", 3), ("a", "2", 4)]),
        Step(10, 10.0, {"3xx": 5}, [], 0, 2, 8, None, [("b", "1", 9)]),
    ]
    view = orjson.loads(orjson.dumps(build_view(steps)))
    assert view["times"] == [5, 10]
    assert view["requests"] == {"2xx": [2.0, 0.0], "3xx": [0.0, 0.5], "4xx": [0.0, 0.0], "5xx": [0.0, 0.0]}
    assert view["latency_ms"]["p50"] == [0.25, None]
    assert (view["waiting"], view["refused"]) == ([1, 2], [1.0, 0.0])
    assert view["memory"]["base"] == [7, 8]
    assert view["memory"]["limit"] == [100, None]
    assert list(view["memory"]["models"].items()) == [("b", [0, 9]), ("a", [7, 0])]


def test_models() -> None:
    """Recent figures are those of five minutes, and the requests by minute those of fifteen."""
    end = 900
    old, new = figures("a", "1", 60), figures("a", "2", 30, errors=15)
    steps = [Step(end - 600, 5.0, versions=[old]), Step(end - 60, 5.0), Step(end, 5.0, versions=[new])]
    models = build_view(steps)["models"]
    assert models["a"]["requests_per_second"] == 3.0
    assert (models["a"]["errors"], models["a"]["error_ratio"]) == (15, 0.5)
    assert models["a"]["p95_ms"] == 4.88
    assert models["a"]["requests_by_minute"] == [0] * 4 + [60] + [0] * 9 + [30]
    assert models["a"]["versions"]["1"]["requests_per_second"] == 0.0
    assert models["a"]["versions"]["1"]["p95_ms"] is models["a"]["versions"]["1"]["error_ratio"] is None
    assert models["a"]["versions"]["2"]["requests_by_minute"][-1] == 30


def test_models_are_bounded() -> None:
    """The busiest of all steps are named, first those with the most requests."""
    steps = [
        Step(5 * number, 5.0, versions=[figures(f"m{number}-{n}", "1", n + 1) for n in range(MAX_VERSIONS)])
        for number in range(1, 4)
    ]
    models = list(build_view(steps)["models"])
    assert len(models) == MAX_VERSIONS
    assert models[:3] == [f"m{number}-{MAX_VERSIONS - 1}" for number in (1, 2, 3)]
