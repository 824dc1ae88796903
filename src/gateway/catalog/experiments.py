"""Experiments: their runs, counted from the oldest, are the versions."""

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

    from gateway.catalog.extremes import MetricExtremes
    from gateway.catalog.run_index import RunIndex
    from gateway.catalog.run_reader import RunReader
    from gateway.domain.models import ModelVersion
    from gateway.mlflow_client import Experiment, MlflowClient, Run


class ExperimentSource:
    """One experiment whose name no registered model has."""

    def __init__(self, client: MlflowClient, experiment: Experiment, *, runs: RunReader) -> None:
        self._client = client
        self._experiment = experiment
        self._run_reader = runs
        self._index: RunIndex | None = None
        self.name = experiment.name
        self.aliases: Mapping[str, str] = {}
        self.preference = Preference.from_tags(experiment.tags)

    async def get_version(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """The run of that number, whatever its status; NotFound where there is none."""
        marks, place = (await self._get_index()).entries, int(number) - 1
        if place >= len(marks):
            raise NotFound(f"There is no version {number} of {self.name!r}.")
        run = await self._client.get_run(marks[place].run_id)
        return self._build_version(place, run, await self._newest_models([run]))

    async def latest_ready(self) -> ModelVersion | None:
        """The newest finished run that has a model."""
        number = (await self._get_index()).latest_ready()
        return None if number is None else await self.get_version(str(number))

    async def list_versions(self) -> list[ModelVersion]:
        """All runs, the newest first, deleted ones too."""
        runs = await self._run_reader.read_runs(self._experiment.experiment_id)
        newest = await self._newest_models(runs)
        return await asyncio.to_thread(self._build_versions, runs, newest)

    async def extremes(self) -> MetricExtremes[int] | None:
        """The extremes of the READY runs' metrics, by number; None where none is READY."""
        ledger = await self._get_index()
        return None if ledger.latest_ready() is None else ledger.extremes.map_keys(ledger.get_number)

    async def has_versions(self) -> bool:
        """Whether there is any run."""
        return bool((await self._get_index()).entries)

    def to_model(self, latest: str | None) -> Model:
        """The experiment as a model; `latest` is the number that `latest` stands for now."""
        return experiment_to_model(self._experiment, latest)

    async def _get_index(self) -> RunIndex:
        if self._index is None:
            self._index = await self._run_reader.read_index(self._experiment.experiment_id)
        return self._index

    def _build_versions(self, runs: Sequence[Run], newest: Mapping[str, str]) -> list[ModelVersion]:
        return [self._build_version(place, run, newest) for place, run in enumerate(runs)][::-1]

    def _build_version(self, place: int, run: Run, newest: Mapping[str, str]) -> ModelVersion:
        model_id = newest.get(run.run_id) or (run.outputs[-1] if run.outputs else "")
        return from_run(self.name, place + 1, run, model_id=model_id)

    async def _newest_models(self, runs: Sequence[Run]) -> dict[str, str]:
        """The newest model of each run that has several; MLflow does not order a run's outputs."""
        several = [run for run in runs if len(run.outputs) > 1]
        identities = (model_id for run in several for model_id in run.outputs)
        models = await bulk.logged_models_by_id(self._client, identities, [self._experiment.experiment_id])
        newest: dict[str, str] = {}
        for run in several:
            known = [models[model_id] for model_id in run.outputs if model_id in models]
            if known:
                newest[run.run_id] = max(known, key=lambda model: (model.ready, model.created)).model_id
        return newest


def experiment_to_model(experiment: Experiment, latest: str | None) -> Model:
    """The experiment as a model; `latest` is the number that `latest` stands for now."""
    return Model(
        name=experiment.name,
        source="experiment",
        description=experiment.tags.get(DESCRIPTION_TAG, ""),
        tags=user_tags(experiment.tags),
        latest=latest,
        created=to_datetime(experiment.created),
        updated=to_datetime(experiment.updated),
    )
