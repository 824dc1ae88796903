"""Computation of a step from the metrics of all processes at its begin and end."""

from __future__ import annotations

from collections import Counter, defaultdict
from operator import add
from typing import TYPE_CHECKING, Final

from gateway.telemetry.history.step import MAX_VERSIONS, Step, VersionFigures
from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.requests import PREDICTIONS
from workers.metrics import OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.telemetry.metrics.snapshot import SeriesKey, Snapshot

REFUSALS: Final = frozenset(
    {"gateway_rate_limited", "gateway_queue_rejections", "gateway_request_bodies_rejected"}
)
"""The counters of requests that were refused for a limit."""
_PREDICTIONS: Final = definitions.to_metric_spec(PREDICTIONS).name
_READ: Final = REFUSALS | {
    _PREDICTIONS,
    definitions.PREDICTION_DURATION.name,
    definitions.MODEL_PREDICTION_DURATION.name,
}
_GAUGES: Final = frozenset(
    spec.name
    for spec in (
        definitions.QUEUED_REQUESTS,
        definitions.BASE_MEMORY,
        definitions.MEMORY_LIMIT,
        definitions.MODEL_MEMORY,
    )
)
_SERVER_ERRORS: Final = "5"
_FAILED_DEPENDENCY: Final = "424"

Version = tuple[str, ...]


class StepReader:
    """A reader that compares each process' totals with those that it read before.

    A process that was not seen before counts from its next step on.
    """

    def __init__(self) -> None:
        self._last_totals: dict[int, dict[SeriesKey, Sequence[float]]] = {}

    def read(self, snapshots: Mapping[int, Snapshot], *, time: int, seconds: float) -> Step:
        """Return the figures of the `seconds` since the last call, which end at `time`."""
        step, versions = Step(time, seconds), _Versions()
        for (name, labels), increase in self._increases(snapshots):
            if name == definitions.PREDICTION_DURATION.name:
                _count_class(step, labels[0], increase)
            elif name in REFUSALS:
                step.refused += round(increase[0])
            elif labels[:2] != OTHER:  # which counts the versions that it took over, too
                versions.add(name, labels, increase)
        step.versions = versions.busiest()
        _read_gauges(step, snapshots)
        return step

    def _increases(self, snapshots: Mapping[int, Snapshot]) -> Iterator[tuple[SeriesKey, list[float]]]:
        """Yield the growth of every series that is read and has grown, for each process by itself."""
        for number, snapshot in snapshots.items():
            now = {series: values for series, values in snapshot.totals.items() if series[0] in _READ}
            before = self._last_totals.get(number)
            self._last_totals[number] = now
            if before is None:
                continue
            for series, values in now.items():
                last = before.get(series)
                growth = list(values) if last is None else [b - a for a, b in zip(last, values, strict=True)]
                if any(growth):
                    yield series, [max(0.0, each) for each in growth]


class _Versions:
    """The figures of model versions, summed over processes."""

    def __init__(self) -> None:
        self._requests: Counter[Version] = Counter()
        self._errors: Counter[Version] = Counter()
        self._latencies: dict[Version, list[int]] = defaultdict(list)

    def add(self, name: str, labels: tuple[str, ...], increase: Sequence[float]) -> None:
        """Add the growth of one series with a model and a version as first labels."""
        version = labels[:2]
        if name == _PREDICTIONS:
            code, count = labels[2], round(increase[0])
            self._requests[version] += count
            if code.startswith(_SERVER_ERRORS) or code == _FAILED_DEPENDENCY:
                self._errors[version] += count
        else:
            self._latencies[version] = add_counts(self._latencies[version], increase[:-1])

    def busiest(self) -> list[VersionFigures]:
        """Return the figures of the versions with the most requests."""
        return [
            VersionFigures(
                version[0], version[1], count, self._errors[version], self._latencies.get(version, [])
            )
            for version, count in self._requests.most_common(MAX_VERSIONS)
        ]


def add_counts(left: Sequence[int], right: Sequence[float]) -> list[int]:
    """Return the sum of the counts of buckets; no counts at all are as many zeros."""
    if not left or not right:
        return list(map(round, left or right))
    return [a + round(b) for a, b in zip(left, right, strict=True)]


def _count_class(step: Step, code: str, increase: Sequence[float]) -> None:
    """Count requests by class of status; those that succeeded also by their latency."""
    step.requests[code] = step.requests.get(code, 0) + round(sum(increase[:-1]))
    if code == "2xx":
        step.latencies = add_counts(step.latencies, increase[:-1])


def _read_gauges(step: Step, snapshots: Mapping[int, Snapshot]) -> None:
    totals: dict[SeriesKey, float] = {}
    for snapshot in snapshots.values():
        # Processes of a fleet all say the same of its nodes.
        combine = max if any(name == definitions.NODE_UP.name for name, _ in snapshot.gauges) else add
        for key, value in snapshot.gauges.items():
            if key[0] in _GAUGES:
                totals[key] = combine(totals.get(key, 0.0), value)
    memory: Counter[tuple[str, str]] = Counter()
    for (name, labels), value in totals.items():
        if name == definitions.QUEUED_REQUESTS.name:
            step.waiting += round(value)
        elif name == definitions.BASE_MEMORY.name:
            step.base_memory = round(value)
        elif name == definitions.MEMORY_LIMIT.name:
            step.memory_limit = round(value)
        else:
            memory[labels[0], labels[1]] = round(value)
    step.model_memory = [(*version, size) for version, size in memory.most_common(MAX_VERSIONS)]
