"""Experiments as version sources: each run is a version, numbered from the oldest."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.catalog import bulk, run_choice
from gateway.catalog.best import Preference
from gateway.catalog.logged_models import find_logged_model, models_without_run
from gateway.catalog.run_index import RunIndex
from gateway.catalog.versions import (
    DELETED,
    DESCRIPTION_TAG,
    READY,
    from_logged_model,
    from_run,
    to_datetime,
    user_tags,
)
from gateway.domain.models import Model, ModelDetails
from gateway.domain.refs import Best, ModelId
from gateway.errors import BestMetricUndecided, NotFound, TooManyRuns
from gateway.mlflow_client import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.catalog.readers import Readers
    from gateway.domain.models import BestChoice, ModelVersion
    from gateway.domain.refs import RunId
    from gateway.mlflow_client import Experiment, LoggedModel, MlflowClient, Run


class ExperimentSource:
    """A version source for one experiment, used if no registered model has its name.

    A logged model that no run produced, and one that its run replaced by a newer one, have no number: their
    id is their version. The same holds for a run of an experiment with too many runs to be numbered.
    """

    def __init__(self, client: MlflowClient, experiment: Experiment, *, readers: Readers) -> None:
        self._client = client
        self._experiment = experiment
        self._readers = readers
        self._index: RunIndex | None = None
        self.name = experiment.name
        self.aliases: Mapping[str, str] = {}
        self.preference = Preference.from_tags(experiment.tags)

    async def get_version(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """Return the run with this number, whatever its status; raise NotFound if there is none."""
        entries, index = (await self._get_index()).entries, int(number) - 1
        if index >= len(entries):
            raise NotFound(f"There is no version {number} of {self.name!r}.")
        return await self._to_version(number, await self._client.get_run(entries[index].run_id))

    async def get_by_id(self, selector: ModelId | RunId, *, metrics: bool = False) -> ModelVersion:
        """Return the run or logged model with this id; raise NotFound if this experiment has none."""
        if isinstance(selector, ModelId):
            return await self._get_model(selector.value, metrics=metrics)
        run = await self._find_run(selector.value)
        if run is None:
            raise NotFound(f"{self.name!r} has no run with this id.")
        return await self._number_run(run)

    async def latest_ready(self) -> ModelVersion | None:
        """Return the newest finished run that has a model, or None."""
        number = await self._latest_number()
        return None if number is None else await self.get_version(str(number))

    async def best(self, selector: Best, preferences: Iterable[Preference]) -> BestChoice | None:
        """Return the best READY run, None if there is none; raise BestMetricUndecided."""
        index = await self._get_index()
        return await run_choice.choose_best(index, self._readers.folders, selector, preferences=preferences)

    async def describe(self, preferences: Iterable[Preference]) -> ModelDetails:
        """Return the experiment with all its runs including deleted ones, newest first."""
        runs = await self._readers.runs.read_runs(self._experiment.experiment_id)
        newest = await self._newest_models(runs)
        self._index = await asyncio.to_thread(RunIndex.from_runs, runs)
        latest = await self._latest_number()
        try:
            choice = await self.best(Best(), preferences)
        except BestMetricUndecided:
            choice = None
        return ModelDetails(
            experiment_to_model(self._experiment, None if latest is None else str(latest)),
            tuple(await asyncio.to_thread(self._build_versions, runs, newest)),
            choice,
            await self._without_run(),
        )

    async def no_ready_version_message(self) -> str:
        """Return why neither `latest` nor `best` exists, if the experiment has runs; else raise NotFound."""
        if (await self._get_index()).entries:
            return f"No version of {self.name!r} is READY."
        hint = " A model logged without a run is reached by its id." if await self._has_without_run() else ""
        raise NotFound(f"{self.name!r} has no version.{hint}")

    async def _get_index(self) -> RunIndex:
        if self._index is None:
            self._index = await self._readers.runs.read_index(self._experiment.experiment_id)
        return self._index

    async def _latest_number(self) -> int | None:
        return await run_choice.choose_latest(await self._get_index(), self._readers.folders)

    async def _get_model(self, model_id: str, *, metrics: bool) -> ModelVersion:
        model = await find_logged_model(self._client, model_id)
        if model is None or model.experiment_id != self._experiment.experiment_id:
            raise NotFound(f"{self.name!r} has no model with this id.")
        run = await self._find_run(model.run_id) if model.run_id else None
        numbered = None if run is None else await self._number_run(run)
        if numbered is not None and numbered.model_id == model_id and numbered.status == READY:
            return numbered
        version = await self._from_logged_model(model, metrics=metrics)
        return version if run is None or run.active else replace(version, status=DELETED)

    async def _from_logged_model(self, model: LoggedModel, *, metrics: bool) -> ModelVersion:
        values = await self._readers.metrics.read_models([model]) if metrics else {}
        return from_logged_model(self.name, model, values.get(model.model_id, {}))

    async def _find_run(self, run_id: str) -> Run | None:
        try:
            run = await self._client.get_run(run_id)
        except NotFound:
            return None
        except RequestRejected as error:
            if error.invalid:
                return None
            raise
        is_own = run.experiment_id == self._experiment.experiment_id and run.run_id == run_id
        return run if is_own else None

    async def _number_run(self, run: Run) -> ModelVersion:
        try:
            number = (await self._get_index()).find_number(run)
        except TooManyRuns:
            number = None
        return await self._to_version(run.run_id if number is None else str(number), run)

    async def _to_version(self, version: str, run: Run) -> ModelVersion:
        newest = await self._newest_models([run])
        is_unknown = run.active and not (run.outputs or run.logged_models)
        folder = await self._readers.folders.find(run.run_id) if is_unknown else ""
        return from_run(self.name, version, run, model_id=_model_id(run, newest), folder=folder)

    def _build_versions(self, runs: Sequence[Run], newest: Mapping[str, str]) -> list[ModelVersion]:
        known = self._readers.folders.known
        versions = [
            from_run(self.name, str(number), run, model_id=_model_id(run, newest), folder=known(run.run_id))
            for number, run in enumerate(runs, start=1)
        ]
        return versions[::-1]

    async def _without_run(self) -> tuple[ModelVersion, ...]:
        models = await models_without_run(self._client, [self._experiment.experiment_id])
        values = await self._readers.metrics.read_models(models)
        return tuple(from_logged_model(self.name, model, values[model.model_id]) for model in models)

    async def _has_without_run(self) -> bool:
        return bool(await models_without_run(self._client, [self._experiment.experiment_id]))

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


def _model_id(run: Run, newest: Mapping[str, str]) -> str:
    return newest.get(run.run_id) or (run.outputs[-1] if run.outputs else "")


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
