"""Finds the version source for a name: a registered model, else an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.catalog import client_words
from gateway.catalog.experiments import ExperimentSource
from gateway.catalog.registered_models import RegisteredModelSource
from gateway.domain.refs import is_possible_registered_name, quote_name
from gateway.errors import NotFound, VersionNotServable
from gateway.mlflow_client import RegisteredModel, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gateway.catalog.best import Preference
    from gateway.catalog.readers import Readers
    from gateway.domain.models import BestChoice, ModelDetails, ModelVersion
    from gateway.domain.refs import Best, ModelId, RunId
    from gateway.mlflow_client import Experiment, MlflowClient
    from gateway.settings.types import NameSource


class VersionSource(Protocol):
    """A source of one model's versions."""

    name: str
    aliases: Mapping[str, str]
    preference: Preference

    async def get_version(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """Return the version with this number, whatever its status; raise NotFound if there is none."""

    async def get_by_id(self, selector: ModelId | RunId, *, metrics: bool = False) -> ModelVersion:
        """Return the version of this logged model or run, whatever its status; raise NotFound."""

    async def latest_ready(self) -> ModelVersion | None:
        """Return the newest READY version, or None."""

    async def best(self, selector: Best, preferences: Iterable[Preference]) -> BestChoice | None:
        """Return the best READY version, None if no version is READY; raise BestMetricUndecided."""

    async def describe(self, preferences: Iterable[Preference]) -> ModelDetails:
        """Return the model with all its versions and their metrics, newest first."""

    async def no_ready_version_message(self) -> str:
        """Return why neither `latest` nor `best` exists, if there are versions; else raise NotFound."""


async def find_source(
    client: MlflowClient, name: str, *, readers: Readers, kinds: Collection[NameSource]
) -> VersionSource:
    """Return the source for `name`, of one of these kinds; raise what `find_record` raises."""
    record = await find_record(client, name, kinds=kinds)
    if isinstance(record, RegisteredModel):
        return RegisteredModelSource(client, record, readers=readers)
    return ExperimentSource(client, record, readers=readers)


async def find_record(
    client: MlflowClient, name: str, *, kinds: Collection[NameSource]
) -> RegisteredModel | Experiment:
    """Return the registered model or experiment that is served under `name`, of one of these kinds.

    Raise NotFound if `name` is neither a registered model nor an experiment, or of a kind that is not in
    `kinds`, and VersionNotServable if it is a prompt.
    """
    if not client_words.is_storable(name):
        raise NotFound("There is no such model: its name is not valid text.")
    record = await find_registered_model(client, name) if "registry" in kinds else None
    if record is not None and not record.is_prompt:
        return record
    experiment = await find_experiment(client, name) if "experiments" in kinds else None
    if experiment is not None:
        return experiment
    if record is not None:
        raise VersionNotServable(f"{quote_name(name)} is a prompt, not a model: it cannot predict.")
    raise NotFound(f"There is no model {quote_name(name)}.")


async def find_registered_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    """Return the registered model or prompt with this name, or None."""
    if not is_possible_registered_name(name):
        return None
    try:
        return await client.get_registered_model(name)
    except NotFound:
        return None
    except RequestRejected as error:
        if await client_words.are_at_fault(error, lambda: client.search_registered_models(max_results=1)):
            return None
        raise


async def find_experiment(client: MlflowClient, name: str) -> Experiment | None:
    """Return the experiment with this name unless it is deleted, or None."""
    try:
        experiment = await client.get_experiment_by_name(name)
    except NotFound:
        return None
    except RequestRejected as error:
        if await client_words.are_at_fault(error, lambda: client.search_experiments(max_results=1)):
            return None
        raise
    return experiment if experiment.active else None
