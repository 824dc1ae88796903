"""Experiments: their runs, counted from the oldest, are the versions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.catalog import bulk
from gateway.catalog.best import Preference
from gateway.catalog.versions import NOTE, READY, moment, of_run
from gateway.errors import NotFound
from gateway.mlflow_client import every
from gateway.models import Model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.mlflow_client import Experiment, MlflowClient, Page, Run
    from gateway.models import ModelVersion

_MANY = 500  # records of some kilobytes each, which the event loop reads in one go
_TOGETHER = 50


class Experimental:
    """One experiment whose name no registered model has."""

    def __init__(
        self, client: MlflowClient, experiment: Experiment, *, runs: Sequence[Run] | None = None
    ) -> None:
        self._client = client
        self._experiment = experiment
        self._runs = runs
        self.name = experiment.name
        self.aliases: Mapping[str, str] = {}
        self.preference = Preference.of(experiment.tags)

    async def numbered(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """The run of that number, whatever its status; NotFound where there is none."""
        runs, place = await self._ordered(), int(number) - 1
        if place >= len(runs):
            raise NotFound(f"There is no version {number} of {self.name!r}.")
        newest = await self._newest_outputs([runs[place]])
        return self._version(place, runs[place], newest)

    async def latest(self) -> ModelVersion | None:
        """The newest finished run that has a model."""
        runs = await self._ordered()
        for place in range(len(runs) - 1, -1, -1):
            if self._version(place, runs[place], {}).status == READY:
                newest = await self._newest_outputs([runs[place]])
                return self._version(place, runs[place], newest)
        return None

    async def versions(self) -> list[ModelVersion]:
        """All runs, the newest first, deleted ones too."""
        runs = await self._ordered()
        newest = await self._newest_outputs(runs)
        return [self._version(place, run, newest) for place, run in enumerate(runs)][::-1]

    async def any_version(self) -> bool:
        """Whether there is any run."""
        return bool(await self._ordered())

    def model(self, latest: str | None) -> Model:
        """The experiment as a model; `latest` is the number that `latest` stands for now."""
        experiment = self._experiment
        return Model(
            name=experiment.name,
            source="experiment",
            description=experiment.tags.get(NOTE, ""),
            tags={key: value for key, value in experiment.tags.items() if not key.startswith("mlflow.")},
            latest=latest,
            created=moment(experiment.created),
            updated=moment(experiment.updated),
        )

    async def listed(self) -> Model:
        """As `model`, finding out what `latest` stands for."""
        runs = await self._ordered()
        ready = (place for place in range(len(runs), 0, -1) if self._ready(place - 1, runs))
        latest = next(ready, None)
        return self.model(None if latest is None else str(latest))

    def _ready(self, place: int, runs: Sequence[Run]) -> bool:
        return self._version(place, runs[place], {}).status == READY

    async def _ordered(self) -> Sequence[Run]:
        if self._runs is None:
            identity = self._experiment.experiment_id
            self._runs = (await runs_of(self._client, [identity])).get(identity, [])
        return self._runs

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


async def runs_of(
    client: MlflowClient, experiment_ids: Sequence[str], *, briefly: bool = False
) -> dict[str, list[Run]]:
    """The runs of each experiment in the order of their numbers: by start time, then by id.

    Deleted runs count, so that no number changes its meaning when a run is deleted. `briefly` leaves away
    what says nothing of a run's number and status.
    """
    found: dict[str, list[Run]] = defaultdict(list)
    for start in range(0, len(experiment_ids), _TOGETHER):
        chunk = experiment_ids[start : start + _TOGETHER]

        async def page(token: str, chunk: Sequence[str] = chunk) -> Page[Run]:
            found = await client.search_runs(chunk, view="ALL", max_results=_MANY, token=token)
            return replace(found, items=tuple(map(_brief, found.items))) if briefly else found

        for run in await every(page):
            found[run.experiment_id].append(run)
    for runs in found.values():
        runs.sort(key=lambda run: (run.started, run.run_id))
    return dict(found)


def _brief(run: Run) -> Run:
    return replace(run, name="", artifact_uri="", params={}, metrics={}, tags={})
