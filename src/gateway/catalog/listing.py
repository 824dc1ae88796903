"""Every model, page by page: the registered ones, then the experiments that no model is named like."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from gateway.catalog import bulk, filters
from gateway.catalog.experiments import experiment_to_model
from gateway.catalog.registered_models import RegisteredModelSource
from gateway.catalog.versions import is_prompt
from gateway.domain.models import ModelPage
from gateway.errors import BadRequest
from gateway.mlflow_client import RequestRejected, all_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.catalog.run_index import RunIndex
    from gateway.catalog.run_reader import RunReader
    from gateway.domain.models import Model
    from gateway.mlflow_client import Experiment, MlflowClient, Page, RegisteredModel

Stage = Literal["registry", "experiment"]
_STAGES: dict[str, Stage] = {"registry": "registry", "experiment": "experiment"}

_MAX_PAGES = 10
_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a page begins: in which of the two lists, and MLflow's own token there."""

    stage: Stage = "registry"
    mlflow_token: str = ""

    def encode(self) -> str:
        """An opaque token for the client."""
        return urlsafe_b64encode(f"{self.stage}\n{self.mlflow_token}".encode()).decode()

    @classmethod
    def decode(cls, text: str | None) -> PageToken:
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


async def list_models(
    client: MlflowClient, *, runs: RunReader, max_results: int, page_token: str | None, name_contains: str
) -> ModelPage:
    """At most `max_results` models whose name holds `name_contains`, from `page_token` on.

    `latest` is None, too, for an experiment that has too many runs.
    """
    place: PageToken | None = PageToken.decode(page_token)
    models: list[Model] = []
    for _ in range(_MAX_PAGES):
        if place is None or len(models) >= max_results:
            break
        asked = place
        step = _list_registered if place.stage == "registry" else partial(_list_experiments, runs=runs)
        try:
            found, place = await step(
                client, asked.mlflow_token, room=max_results - len(models), contains=name_contains
            )
        except RequestRejected as error:
            if page_token and error.code == "INVALID_PARAMETER_VALUE":
                raise BadRequest("page_token is not one that this server gave.") from error
            raise
        models += found
        if place == asked:
            break
    return ModelPage(tuple(models), place.encode() if place else None)


async def _list_registered(
    client: MlflowClient, token: str, *, room: int, contains: str
) -> tuple[list[Model], PageToken | None]:
    found = await client.search_registered_models(
        filters.name_contains(contains), max_results=room, token=token
    )
    records = [record for record in found.items if contains in record.name and not is_prompt(record.tags)]
    models = await bulk.gather_bounded(
        lambda record: RegisteredModelSource(client, record).to_model_with_latest(), records
    )
    following = PageToken("registry", found.token) if found.token else PageToken("experiment")
    return [model for model in models if model is not None], following


async def _list_experiments(
    client: MlflowClient, token: str, *, room: int, contains: str, runs: RunReader
) -> tuple[list[Model], PageToken | None]:
    found = await client.search_experiments(filters.name_contains(contains), max_results=room, token=token)
    records = [record for record in found.items if contains in record.name]
    taken = await _registered_names(client, contains) if records else frozenset()
    models = await _experiments_with_runs(runs, [record for record in records if record.name not in taken])
    return models, PageToken("experiment", found.token) if found.token else None


async def _experiments_with_runs(runs: RunReader, experiments: Sequence[Experiment]) -> list[Model]:
    ledgers = await runs.read_indexes([experiment.experiment_id for experiment in experiments])
    return [
        experiment_to_model(experiment, _latest_number(ledgers[experiment.experiment_id]))
        for experiment in experiments
        if experiment.experiment_id in ledgers
    ]


def _latest_number(ledger: RunIndex | None) -> str | None:
    number = None if ledger is None else ledger.latest_ready()
    return None if number is None else str(number)


async def _registered_names(client: MlflowClient, contains: str) -> frozenset[str]:
    async def search(token: str) -> Page[RegisteredModel]:
        return await client.search_registered_models(
            filters.name_contains(contains), max_results=_PAGE_SIZE, token=token
        )

    return frozenset(record.name for record in await all_pages(search))
