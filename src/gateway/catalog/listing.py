"""Lists all models in pages: registered models first, then experiments without a registered namesake."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.catalog import bulk, client_words, filters
from gateway.catalog.client_words import is_possible_token, is_storable
from gateway.catalog.experiments import experiment_to_model
from gateway.catalog.logged_models import models_without_run
from gateway.catalog.registered_models import RegisteredModelSource
from gateway.domain.models import ModelPage
from gateway.errors import BadRequest
from gateway.mlflow_client import RequestRejected, all_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.catalog.readers import Readers
    from gateway.catalog.run_index import RunIndex
    from gateway.catalog.run_reader import RunReader
    from gateway.domain.models import Model
    from gateway.mlflow_client import Experiment, MlflowClient, Page, RegisteredModel
    from gateway.settings.types import NameSource

Stage = Literal["registry", "experiment"]
_STAGES: dict[str, Stage] = {"registry": "registry", "experiment": "experiment"}
_KINDS: dict[Stage, NameSource] = {"registry": "registry", "experiment": "experiments"}

_MAX_PAGES = 10
PAGE_SIZE = 1000
WRONG_PAGE = "page_token was not issued by this server."
_WRONG_FILTER = "MLflow cannot search for this filter."


@dataclass(frozen=True, slots=True)
class PageToken:
    """A position in the list: one of the two stages, and MLflow's own page token within it."""

    stage: Stage = "registry"
    mlflow_token: str = ""

    def encode(self) -> str:
        """Return the opaque token for the client."""
        return urlsafe_b64encode(f"{self.stage}\n{self.mlflow_token}".encode()).decode()

    @classmethod
    def decode(cls, text: str | None) -> PageToken:
        """Return the position that `text` encodes; raise BadRequest for a token the gateway did not issue."""
        if not text:
            return cls()
        try:
            stage, _, token = urlsafe_b64decode(text.encode("ascii")).decode().partition("\n")
        except (binascii.Error, ValueError):
            stage, token = "", ""
        if stage not in _STAGES or not is_possible_token(token):
            raise BadRequest(WRONG_PAGE)
        return cls(_STAGES[stage], token)


@dataclass(frozen=True, slots=True)
class ListingOptions:
    """The kinds of models to list, and what to call with the names of experiments that are hidden."""

    kinds: Collection[NameSource]
    on_hidden: Callable[[str], None]

    def first_position(self, page_token: str | None) -> PageToken:
        """Return where the list starts; raise BadRequest for a token of another list."""
        if not page_token:
            return PageToken("registry" if "registry" in self.kinds else "experiment")
        position = PageToken.decode(page_token)
        if not self.has(position.stage):
            raise BadRequest(WRONG_PAGE)
        return position

    def has(self, stage: Stage) -> bool:
        """Return whether models of this stage are listed."""
        return _KINDS[stage] in self.kinds


async def list_models(
    client: MlflowClient,
    *,
    readers: Readers,
    options: ListingOptions,
    max_results: int,
    page_token: str | None,
    name_contains: str,
) -> ModelPage:
    """Return at most `max_results` models whose name contains `name_contains`, starting at `page_token`.

    `latest` of an experiment with too many runs is None.
    """
    position: PageToken | None = options.first_position(page_token)
    if not is_storable(name_contains):
        return ModelPage(())
    models: list[Model] = []
    for _ in range(_MAX_PAGES):
        if position is None or len(models) >= max_results:
            break
        current = position
        list_page = _list_registered if current.stage == "registry" else _list_experiments
        try:
            found, position = await list_page(
                client,
                current.mlflow_token,
                limit=max_results - len(models),
                contains=name_contains,
                readers=readers,
                options=options,
            )
        except RequestRejected as error:
            await _blame_client(client, error, page_token=page_token, name_contains=name_contains)
            raise
        models += found
        if position == current:
            break
    return ModelPage(tuple(models), position.encode() if position else None)


async def _blame_client(
    client: MlflowClient, error: RequestRejected, *, page_token: str | None, name_contains: str
) -> None:
    """Raise BadRequest if MLflow rejected the client's page token or filter."""
    if not page_token and not name_contains:
        return
    if await client_words.are_at_fault(error, lambda: client.search_registered_models(max_results=1)):
        raise BadRequest(WRONG_PAGE if page_token else _WRONG_FILTER) from error


async def _list_registered(
    client: MlflowClient, token: str, *, limit: int, contains: str, readers: Readers, options: ListingOptions
) -> tuple[list[Model], PageToken | None]:
    found = await client.search_registered_models(
        filters.name_contains(contains), max_results=limit, token=token
    )
    records = [record for record in found.items if contains in record.name and not record.is_prompt]
    models = await bulk.gather_bounded(
        lambda record: RegisteredModelSource(client, record, readers=readers).to_model_with_latest(), records
    )
    last = PageToken("experiment") if options.has("experiment") else None
    next_position = PageToken("registry", found.token) if found.token else last
    return [model for model in models if model is not None], next_position


async def _list_experiments(
    client: MlflowClient, token: str, *, limit: int, contains: str, readers: Readers, options: ListingOptions
) -> tuple[list[Model], PageToken | None]:
    found = await client.search_experiments(filters.name_contains(contains), max_results=limit, token=token)
    records = [record for record in found.items if contains in record.name]
    can_be_hidden = bool(records) and options.has("registry")
    registered = await _registered_names(client, contains) if can_be_hidden else frozenset()
    experiments = [record for record in records if record.name not in registered]
    for hidden in {record.name for record in records} & registered:
        options.on_hidden(hidden)
    models = await experiments_with_models(client, experiments, readers.runs)
    return models, PageToken("experiment", found.token) if found.token else None


async def experiments_with_models(
    client: MlflowClient, experiments: Sequence[Experiment], runs: RunReader
) -> list[Model]:
    """Return the experiments that have runs, or logged models without a run."""
    ids = [experiment.experiment_id for experiment in experiments]
    indexes = await runs.read_indexes(ids)
    rest = [experiment_id for experiment_id in ids if experiment_id not in indexes]
    others = {model.experiment_id for model in await models_without_run(client, rest)} if rest else set()
    return [
        experiment_to_model(experiment, _latest_number(indexes.get(experiment.experiment_id)))
        for experiment in experiments
        if experiment.experiment_id in indexes.keys() | others
    ]


def _latest_number(index: RunIndex | None) -> str | None:
    number = None if index is None else index.latest_ready()
    return None if number is None else str(number)


async def _registered_names(client: MlflowClient, contains: str) -> frozenset[str]:
    async def search(token: str) -> Page[RegisteredModel]:
        return await client.search_registered_models(
            filters.name_contains(contains), max_results=PAGE_SIZE, token=token
        )

    return frozenset(record.name for record in await all_pages(search))
