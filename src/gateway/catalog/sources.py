"""What a name stands for: a registered model, or else an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.catalog.experiments import ExperimentSource
from gateway.catalog.registered_models import RegisteredModelSource
from gateway.catalog.versions import is_prompt
from gateway.domain.refs import quote_name
from gateway.errors import NotFound, VersionNotServable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.catalog.best import Preference
    from gateway.catalog.extremes import MetricExtremes
    from gateway.catalog.run_reader import RunReader
    from gateway.domain.models import Model, ModelVersion
    from gateway.mlflow_client import MlflowClient, RegisteredModel


class VersionSource(Protocol):
    """Where a model's versions come from."""

    name: str
    aliases: Mapping[str, str]
    preference: Preference

    async def get_version(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """The version of that number, whatever its status; NotFound where there is none."""

    async def latest_ready(self) -> ModelVersion | None:
        """The newest READY version."""

    async def list_versions(self) -> list[ModelVersion]:
        """All versions with their metrics, newest first."""

    async def extremes(self) -> MetricExtremes[int] | None:
        """The extremes of the READY versions' metrics, by number; None where none is READY."""

    async def has_versions(self) -> bool:
        """Whether there is a version of any status."""

    def to_model(self, latest: str | None) -> Model:
        """The model as such; `latest` is the number that `latest` stands for now."""


async def find_source(client: MlflowClient, name: str, *, runs: RunReader) -> VersionSource:
    """What `name` stands for; `runs` is where an experiment's are read.

    Raises NotFound where it is neither a registered model nor an experiment, NotServable where it
    is a prompt.
    """
    record = await _find_registered_model(client, name)
    if record is not None and not is_prompt(record.tags):
        return RegisteredModelSource(client, record)
    experiment = await _find_experiment(client, name, runs)
    if experiment is not None:
        return experiment
    if record is not None:
        raise VersionNotServable(
            f"{quote_name(name)} is a prompt, not a model: there is nothing in it that predicts."
        )
    raise NotFound(f"There is no model {quote_name(name)}.")


async def _find_registered_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    # MLflow refuses these in a model's name, some stores by an error; experiments may have them.
    if "/" in name or ":" in name:
        return None
    try:
        return await client.get_registered_model(name)
    except NotFound:
        return None


async def _find_experiment(client: MlflowClient, name: str, runs: RunReader) -> ExperimentSource | None:
    try:
        experiment = await client.get_experiment_by_name(name)
    except NotFound:
        return None
    return ExperimentSource(client, experiment, runs=runs) if experiment.active else None
