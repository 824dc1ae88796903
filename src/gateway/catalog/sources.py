"""Finds the version source for a name: a registered model, else an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.catalog.experiments import ExperimentSource
from gateway.catalog.registered_models import RegisteredModelSource
from gateway.catalog.versions import is_prompt
from gateway.domain.refs import quote_name
from gateway.errors import NotFound, VersionNotServable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.catalog.best import MetricExtremes, Preference
    from gateway.catalog.run_reader import RunReader
    from gateway.domain.models import Model, ModelVersion
    from gateway.mlflow_client import MlflowClient, RegisteredModel


class VersionSource(Protocol):
    """A source of one model's versions."""

    name: str
    aliases: Mapping[str, str]
    preference: Preference

    async def get_version(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """Return the version with this number, whatever its status; raise NotFound if there is none."""

    async def latest_ready(self) -> ModelVersion | None:
        """Return the newest READY version, or None."""

    async def list_versions(self) -> list[ModelVersion]:
        """Return all versions with their metrics, newest first."""

    async def extremes(self) -> MetricExtremes[int] | None:
        """Return the extremes of the READY versions' metrics by number, or None if no version is READY."""

    async def has_versions(self) -> bool:
        """Return whether there is a version of any status."""

    def to_model(self, latest: str | None) -> Model:
        """Return the model, with `latest` as the number of its newest READY version."""


async def find_source(client: MlflowClient, name: str, *, runs: RunReader) -> VersionSource:
    """Return the source for `name`; `runs` reads the runs of an experiment.

    Raise NotFound if `name` is neither a registered model nor an experiment, and VersionNotServable if it
    is a prompt.
    """
    record = await _find_registered_model(client, name)
    if record is not None and not is_prompt(record.tags):
        return RegisteredModelSource(client, record)
    experiment = await _find_experiment(client, name, runs)
    if experiment is not None:
        return experiment
    if record is not None:
        raise VersionNotServable(f"{quote_name(name)} is a prompt, not a model: it cannot predict.")
    raise NotFound(f"There is no model {quote_name(name)}.")


async def _find_registered_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    # MLflow rejects these characters in model names, some of its stores with a server error.
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
