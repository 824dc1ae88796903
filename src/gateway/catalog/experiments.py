"""Experiments: their runs, counted from the oldest, are the versions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.catalog import bulk
from gateway.catalog.best import Preference
from gateway.catalog.versions import NOTE, moment, of_run, own_tags
from gateway.domain.models import Model
from gateway.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.catalog.extremes import Extremes
    from gateway.catalog.run_index import Ledger
    from gateway.catalog.run_reader import Runs
    from gateway.domain.models import ModelVersion
    from gateway.mlflow_client import Experiment, MlflowClient, Run


class Experimental:
    """One experiment whose name no registered model has."""

    def __init__(self, client: MlflowClient, experiment: Experiment, *, runs: Runs) -> None:
        self._client = client
        self._experiment = experiment
        self._runs = runs
        self._ledger: Ledger | None = None
        self.name = experiment.name
        self.aliases: Mapping[str, str] = {}
        self.preference = Preference.of(experiment.tags)

    async def numbered(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """The run of that number, whatever its status; NotFound where there is none."""
        marks, place = (await self._known()).marks, int(number) - 1
        if place >= len(marks):
            raise NotFound(f"There is no version {number} of {self.name!r}.")
        run = await self._client.run(marks[place].run_id)
        return self._version(place, run, await self._newest_outputs([run]))

    async def latest(self) -> ModelVersion | None:
        """The newest finished run that has a model."""
        number = (await self._known()).latest()
        return None if number is None else await self.numbered(str(number))

    async def versions(self) -> list[ModelVersion]:
        """All runs, the newest first, deleted ones too."""
        runs = await self._runs.whole(self._experiment.experiment_id)
        newest = await self._newest_outputs(runs)
        return await asyncio.to_thread(self._versions, runs, newest)

    async def extremes(self) -> Extremes[int] | None:
        """The extremes of the READY runs' metrics, by number; None where none is READY."""
        ledger = await self._known()
        return None if ledger.latest() is None else ledger.extremes.named(ledger.number)

    async def any_version(self) -> bool:
        """Whether there is any run."""
        return bool((await self._known()).marks)

    def model(self, latest: str | None) -> Model:
        """The experiment as a model; `latest` is the number that `latest` stands for now."""
        return as_model(self._experiment, latest)

    async def _known(self) -> Ledger:
        if self._ledger is None:
            self._ledger = await self._runs.ledger(self._experiment.experiment_id)
        return self._ledger

    def _versions(self, runs: Sequence[Run], newest: Mapping[str, str]) -> list[ModelVersion]:
        return [self._version(place, run, newest) for place, run in enumerate(runs)][::-1]

    def _version(self, place: int, run: Run, newest: Mapping[str, str]) -> ModelVersion:
        model_id = newest.get(run.run_id) or (run.outputs[-1] if run.outputs else "")
        return of_run(self.name, place + 1, run, model_id=model_id)

    async def _newest_outputs(self, runs: Sequence[Run]) -> dict[str, str]:
        """The newest model of each run that has several; MLflow does not order a run's outputs."""
        several = [run for run in runs if len(run.outputs) > 1]
        identities = (model_id for run in several for model_id in run.outputs)
        models = await bulk.logged_by_id(self._client, identities, [self._experiment.experiment_id])
        newest: dict[str, str] = {}
        for run in several:
            known = [models[model_id] for model_id in run.outputs if model_id in models]
            if known:
                newest[run.run_id] = max(known, key=lambda model: (model.ready, model.created)).model_id
        return newest


def as_model(experiment: Experiment, latest: str | None) -> Model:
    """The experiment as a model; `latest` is the number that `latest` stands for now."""
    return Model(
        name=experiment.name,
        source="experiment",
        description=experiment.tags.get(NOTE, ""),
        tags=own_tags(experiment.tags),
        latest=latest,
        created=moment(experiment.created),
        updated=moment(experiment.updated),
    )
