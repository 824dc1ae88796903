"""Every model, page by page: the registered ones, then the experiments that no model is named like."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from gateway.catalog import bulk, filters
from gateway.catalog.experiments import as_model
from gateway.catalog.registered_models import Registered
from gateway.catalog.versions import is_prompt
from gateway.domain.models import ModelPage
from gateway.errors import BadRequest
from gateway.mlflow_client import CallRefused, every

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.catalog.run_index import Ledger
    from gateway.catalog.run_reader import Runs
    from gateway.domain.models import Model
    from gateway.mlflow_client import Experiment, MlflowClient, Page, RegisteredModel

Stage = Literal["registry", "experiment"]
_STAGES: dict[str, Stage] = {"registry": "registry", "experiment": "experiment"}

_ROUNDS = 10
_MANY = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: in which of the two lists, and MLflow's own token there."""

    stage: Stage = "registry"
    token: str = ""

    def text(self) -> str:
        """An opaque token for the client."""
        return urlsafe_b64encode(f"{self.stage}\n{self.token}".encode()).decode()

    @classmethod
    def of(cls, text: str | None) -> Place:
        """The place that `text` is the token of; BadRequest where it is none of ours."""
        if not text:
            return cls()
        try:
            stage, _, token = urlsafe_b64decode(text.encode("ascii")).decode().partition("\n")
        except (binascii.Error, ValueError):
            stage, token = "", ""
        if stage not in _STAGES:
            raise BadRequest("page_token is not one that this server gave.")
        return cls(_STAGES[stage], token)


async def page(
    client: MlflowClient, *, runs: Runs, max_results: int, page_token: str | None, name_contains: str
) -> ModelPage:
    """At most `max_results` models whose name holds `name_contains`, from `page_token` on.

    `latest` is None, too, for an experiment that has too many runs.
    """
    place: Place | None = Place.of(page_token)
    models: list[Model] = []
    for _ in range(_ROUNDS):
        if place is None or len(models) >= max_results:
            break
        asked = place
        step = _registered if place.stage == "registry" else partial(_experiments, runs=runs)
        try:
            found, place = await step(
                client, asked.token, room=max_results - len(models), contains=name_contains
            )
        except CallRefused as error:
            if page_token and error.code == "INVALID_PARAMETER_VALUE":
                raise BadRequest("page_token is not one that this server gave.") from error
            raise
        models += found
        if place == asked:
            break
    return ModelPage(tuple(models), place.text() if place else None)


async def _registered(
    client: MlflowClient, token: str, *, room: int, contains: str
) -> tuple[list[Model], Place | None]:
    found = await client.search_registered_models(filters.containing(contains), max_results=room, token=token)
    records = [record for record in found.items if contains in record.name and not is_prompt(record.tags)]
    models = await bulk.together(lambda record: Registered(client, record).listed(), records)
    following = Place("registry", found.token) if found.token else Place("experiment")
    return [model for model in models if model is not None], following


async def _experiments(
    client: MlflowClient, token: str, *, room: int, contains: str, runs: Runs
) -> tuple[list[Model], Place | None]:
    found = await client.search_experiments(filters.containing(contains), max_results=room, token=token)
    records = [record for record in found.items if contains in record.name]
    taken = await _registered_names(client, contains) if records else frozenset()
    models = await _with_runs(runs, [record for record in records if record.name not in taken])
    return models, Place("experiment", found.token) if found.token else None


async def _with_runs(runs: Runs, experiments: Sequence[Experiment]) -> list[Model]:
    ledgers = await runs.ledgers([experiment.experiment_id for experiment in experiments])
    return [
        as_model(experiment, _latest(ledgers[experiment.experiment_id]))
        for experiment in experiments
        if experiment.experiment_id in ledgers
    ]


def _latest(ledger: Ledger | None) -> str | None:
    number = None if ledger is None else ledger.latest()
    return None if number is None else str(number)


async def _registered_names(client: MlflowClient, contains: str) -> frozenset[str]:
    async def search(token: str) -> Page[RegisteredModel]:
        return await client.search_registered_models(
            filters.containing(contains), max_results=_MANY, token=token
        )

    return frozenset(record.name for record in await every(search))
