"""Experiments as version sources: each run is a version, numbered from the oldest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.catalog import bulk
from gateway.catalog.best import Preference
from gateway.catalog.versions import DESCRIPTION_TAG, from_run, to_datetime, user_tags
from gateway.domain.models import Model
from gateway.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.catalog.best import MetricExtremes
    from gateway.catalog.run_index import RunIndex
    from gateway.catalog.run_reader import RunReader
    from gateway.domain.models import ModelVersion
    from gateway.mlflow_client import Experiment, MlflowClient, Run


class ExperimentSource:
    """A version source for one experiment, used if no registered model has its name."""

    def __init__(self, client: MlflowClient, experiment: Experiment, *, runs: RunReader) -> None:
        self._client = client
        self._experiment = experiment
        self._run_reader = runs
        self._index: RunIndex | None = None
        self.name = experiment.name
        self.aliases: Mapping[str, str] = {}
        self.preference = Preference.from_tags(experiment.tags)

    async def get_version(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """Return the run with this number, whatever its status; raise NotFound if there is none."""
        entries, index = (await self._get_index()).entries, int(number) - 1
        if index >= len(entries):
            raise NotFound(f"There is no version {number} of {self.name!r}.")
        run = await self._client.get_run(entries[index].run_id)
        return self._build_version(index, run, await self._newest_models([run]))

    async def latest_ready(self) -> ModelVersion | None:
        """Return the newest finished run that has a model, or None."""
        number = (await self._get_index()).latest_ready()
        return None if number is None else await self.get_version(str(number))

    async def list_versions(self) -> list[ModelVersion]:
        """Return all runs including deleted ones, newest first."""
        runs = await self._run_reader.read_runs(self._experiment.experiment_id)
        newest = await self._newest_models(runs)
        return await asyncio.to_thread(self._build_versions, runs, newest)

    async def extremes(self) -> MetricExtremes[int] | None:
        """Return the extremes of the READY runs' metrics by version number, or None if no run is READY."""
        index = await self._get_index()
        return None if index.latest_ready() is None else index.extremes.map_keys(index.get_number)

    async def has_versions(self) -> bool:
        """Return whether the experiment has any run."""
        return bool((await self._get_index()).entries)

    def to_model(self, latest: str | None) -> Model:
        """Return the experiment as a model whose newest READY version is `latest`."""
        return experiment_to_model(self._experiment, latest)

    async def _get_index(self) -> RunIndex:
        if self._index is None:
            self._index = await self._run_reader.read_index(self._experiment.experiment_id)
        return self._index

    def _build_versions(self, runs: Sequence[Run], newest: Mapping[str, str]) -> list[ModelVersion]:
        return [self._build_version(index, run, newest) for index, run in enumerate(runs)][::-1]

    def _build_version(self, index: int, run: Run, newest: Mapping[str, str]) -> ModelVersion:
        model_id = newest.get(run.run_id) or (run.outputs[-1] if run.outputs else "")
        return from_run(self.name, index + 1, run, model_id=model_id)

    async def _newest_models(self, runs: Sequence[Run]) -> dict[str, str]:
        """Return the id of the newest model of each run with several; MLflow does not order them."""
        runs = [run for run in runs if len(run.outputs) > 1]
        model_ids = (model_id for run in runs for model_id in run.outputs)
        models = await bulk.logged_models_by_id(self._client, model_ids, [self._experiment.experiment_id])
        newest: dict[str, str] = {}
        for run in runs:
            known = [models[model_id] for model_id in run.outputs if model_id in models]
            if known:
                newest[run.run_id] = max(known, key=lambda model: (model.ready, model.created)).model_id
        return newest


def experiment_to_model(experiment: Experiment, latest: str | None) -> Model:
    """Return the experiment as a model whose newest READY version is `latest`."""
    return Model(
        name=experiment.name,
        source="experiment",
        description=experiment.tags.get(DESCRIPTION_TAG, ""),
        tags=user_tags(experiment.tags),
        latest=latest,
        created=to_datetime(experiment.created),
        updated=to_datetime(experiment.updated),
    )
