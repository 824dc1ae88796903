"""What a name stands for: a registered model, or else an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.catalog.experiments import Experimental
from gateway.catalog.registered_models import Registered
from gateway.catalog.versions import is_prompt
from gateway.domain.refs import shown
from gateway.errors import NotFound, NotServable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.catalog.best import Preference
    from gateway.catalog.extremes import Extremes
    from gateway.catalog.run_reader import Runs
    from gateway.domain.models import Model, ModelVersion
    from gateway.mlflow_client import MlflowClient, RegisteredModel


class Source(Protocol):
    """Where a model's versions come from."""

    name: str
    aliases: Mapping[str, str]
    preference: Preference

    async def numbered(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """The version of that number, whatever its status; NotFound where there is none."""

    async def latest(self) -> ModelVersion | None:
        """The newest READY version."""

    async def versions(self) -> list[ModelVersion]:
        """All versions with their metrics, newest first."""

    async def extremes(self) -> Extremes[int] | None:
        """The extremes of the READY versions' metrics, by number; None where none is READY."""

    async def any_version(self) -> bool:
        """Whether there is a version of any status."""

    def model(self, latest: str | None) -> Model:
        """The model as such; `latest` is the number that `latest` stands for now."""


async def find(client: MlflowClient, name: str, *, runs: Runs) -> Source:
    """What `name` stands for; `runs` is where an experiment's are read.

    Raises NotFound where it is neither a registered model nor an experiment, NotServable where it
    is a prompt.
    """
    record = await _registered(client, name)
    if record is not None and not is_prompt(record.tags):
        return Registered(client, record)
    experiment = await _experiment(client, name, runs)
    if experiment is not None:
        return experiment
    if record is not None:
        raise NotServable(f"{shown(name)} is a prompt, not a model: there is nothing in it that predicts.")
    raise NotFound(f"There is no model {shown(name)}.")


async def _registered(client: MlflowClient, name: str) -> RegisteredModel | None:
    # MLflow refuses these in a model's name, some stores by an error; experiments may have them.
    if "/" in name or ":" in name:
        return None
    try:
        return await client.registered_model(name)
    except NotFound:
        return None


async def _experiment(client: MlflowClient, name: str, runs: Runs) -> Experimental | None:
    try:
        experiment = await client.experiment_named(name)
    except NotFound:
        return None
    return Experimental(client, experiment, runs=runs) if experiment.active else None
