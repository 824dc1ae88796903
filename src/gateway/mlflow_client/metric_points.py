"""Values of metrics, each with its time and step, by which the newest of several is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.mlflow_client import json_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]


class MetricPoint(NamedTuple):
    """One value of a metric; `run_id` is the run that logged it, empty in the data of a run itself.

    `timestamp` is in milliseconds since 1970. Infinity is the largest double, as MLflow stores it.
    """

    key: str
    value: float
    timestamp: int
    step: int
    run_id: str = ""


def newest_of_run(data: Json) -> dict[str, MetricPoint]:
    """Return the last point of each metric of a run: that of the greatest step, as MLflow itself decides."""
    newest: dict[str, MetricPoint] = {}
    for point in parse_points(data):
        last = newest.get(point.key)
        if last is None or (last.step, last.timestamp) <= (point.step, point.timestamp):
            newest[point.key] = point
    return newest


def newest_of_model(data: Json) -> dict[str, MetricPoint]:
    """Return the newest point of each metric of a logged model, as MLflow itself decides.

    Several runs may have logged it, so their steps are compared only if the times are equal.
    """
    newest: dict[str, MetricPoint] = {}
    for point in parse_points(data):
        last = newest.get(point.key)
        if last is None or (last.timestamp, last.step) <= (point.timestamp, point.step):
            newest[point.key] = point
    return newest


def parse_points(data: Json) -> Iterator[MetricPoint]:
    """Yield the points in the list `metrics`; MLflow writes NaN as text."""
    for entry in json_fields.get_objects(data, "metrics"):
        yield MetricPoint(
            json_fields.get_text(entry, "key"),
            json_fields.to_float(entry.get("value")),
            json_fields.get_integer(entry, "timestamp"),
            json_fields.get_integer(entry, "step"),
            json_fields.get_text(entry, "run_id"),
        )
