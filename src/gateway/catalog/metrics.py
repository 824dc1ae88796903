"""Reads the metrics of versions: the newest of run and logged model, and NaN where MLflow 3 says 0.0."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.catalog.bulk import gather_bounded, logged_models_by_id, runs_by_id
from gateway.mlflow_client import EndpointNotFound, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.mlflow_client import LoggedModel, MetricPoint, MlflowClient, Run, Version

    Points = Mapping[str, MetricPoint]

_MAX_REMEMBERED: Final = 10_000
_MAX_HISTORIES: Final = 100


class MetricReader:
    """A reader of the metrics of registered versions and logged models.

    MLflow 3 stores a NaN of a logged model as 0.0; only the run that logged it still has the NaN. So each
    zero of a logged model is compared with that run: with its last values, which come in bulk, or if it
    logged another value since, with the metric's history. Results are remembered, since a logged value
    never changes. At most 100 histories are read per call. A zero that cannot be compared counts as NaN.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._is_nan: LRUCache[MetricPoint, bool] = LRUCache(_MAX_REMEMBERED)

    async def read_versions(self, versions: Sequence[Version]) -> dict[str, Mapping[str, float]]:
        """Return the metrics of registered versions, keyed by version number.

        Of a metric of both run and logged model, the newest value counts. The run's metrics are left out
        if the run has several models and this one has metrics of its own.
        """
        runs = await runs_by_id(self._client, (version.run_id for version in versions))
        experiment_ids = {run.experiment_id for run in runs.values()}
        model_ids = (version.model_id for version in versions)
        models = await logged_models_by_id(self._client, model_ids, experiment_ids)
        points = {
            version.version: _merge(runs.get(version.run_id), models.get(version.model_id))
            for version in versions
        }
        return await self._to_values(points, runs)

    async def read_models(self, models: Iterable[LoggedModel]) -> dict[str, Mapping[str, float]]:
        """Return the metrics of logged models, keyed by model id."""
        return await self._to_values({model.model_id: model.points for model in models}, {})

    async def _to_values(
        self, points: Mapping[str, Points], runs: Mapping[str, Run]
    ) -> dict[str, Mapping[str, float]]:
        zeros = {
            point for own in points.values() for point in own.values() if point.run_id and not point.value
        }
        nan: frozenset[MetricPoint] = await self._find_nan(zeros, runs) if zeros else frozenset()
        return {
            key: {name: math.nan if point in nan else point.value for name, point in own.items()}
            for key, own in points.items()
        }

    async def _find_nan(self, zeros: set[MetricPoint], runs: Mapping[str, Run]) -> frozenset[MetricPoint]:
        """Return those of `zeros` that stand for NaN; `runs` are already known runs by id."""
        unknown = [point for point in zeros if point not in self._is_nan]
        missing = {point.run_id for point in unknown} - runs.keys()
        runs = {**runs, **await runs_by_id(self._client, missing)}
        in_history: defaultdict[tuple[str, str], list[MetricPoint]] = defaultdict(list)
        for point in unknown:
            run = runs.get(point.run_id)
            last = run.points.get(point.key) if run is not None else None
            if last is None:
                self._is_nan[point] = True
            elif _is_same(point, last):
                self._is_nan[point] = math.isnan(last.value)
            else:
                in_history[point.run_id, point.key].append(point)
        await self._read_histories(in_history)
        return frozenset(point for point in zeros if self._is_nan.get(point, True))

    async def _read_histories(self, wanted: Mapping[tuple[str, str], list[MetricPoint]]) -> None:
        some = sorted(wanted)[:_MAX_HISTORIES]
        for metric, history in zip(some, await gather_bounded(self._history, some), strict=True):
            for point in wanted[metric]:
                found = [past for past in history or () if _is_same(point, past)]
                self._is_nan[point] = not found or any(math.isnan(past.value) for past in found)

    async def _history(self, metric: tuple[str, str]) -> tuple[MetricPoint, ...]:
        try:
            return await self._client.get_metric_history(*metric)
        except (EndpointNotFound, RequestRejected):
            return ()


def _merge(run: Run | None, model: LoggedModel | None) -> Points:
    own: Points = model.points if model is not None else {}
    if run is None or (own and len(run.outputs) > 1):
        return own
    merged = {**run.points, **own}
    for key in run.points.keys() & own.keys():
        if _age(run.points[key]) > _age(own[key]):
            merged[key] = run.points[key]
    return merged


def _age(point: MetricPoint) -> tuple[int, int]:
    """Return what sorts points from old to new: the time, and of equal times the step."""
    return point.timestamp, point.step


def _is_same(point: MetricPoint, other: MetricPoint) -> bool:
    return _age(point) == _age(other)
