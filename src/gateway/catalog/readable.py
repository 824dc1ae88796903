"""Lists the models that one caller may read, as if there were no others.

A page of MLflow's own search says by its token that more models match, also those that the caller may not
read. So all are searched, and the token is a position among those that may be read.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from time import monotonic
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.catalog import bulk, filters
from gateway.catalog.client_words import is_storable
from gateway.catalog.listing import PAGE_SIZE, WRONG_PAGE, experiments_with_models
from gateway.catalog.registered_models import RegisteredModelSource
from gateway.concurrency.singleflight import SingleFlight
from gateway.domain.models import ModelPage
from gateway.errors import BadRequest
from gateway.mlflow_client import Experiment, RegisteredModel, all_pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from gateway.catalog.readers import Readers
    from gateway.domain.models import Model
    from gateway.mlflow_client import MlflowClient, Page
    from gateway.settings.types import NameSource

    Found = tuple[list[RegisteredModel], list[Experiment]]
    Select = Callable[[Iterable[str]], Awaitable[frozenset[str]]]

_KIND: Final = "readable"
_MAX_SEARCHES: Final = 8  # kept, each with all that it found
_MAX_DIGITS: Final = 9


async def list_readable(
    client: MlflowClient,
    select: Select,
    *,
    searches: NameSearches,
    readers: Readers,
    max_results: int,
    page_token: str | None,
    name_contains: str,
) -> ModelPage:
    """Return at most `max_results` models whose name `select` lets pass, starting at `page_token`.

    Raise BadRequest for a token of another list.
    """
    start = _decode(page_token) if page_token else 0
    if not is_storable(name_contains):
        return ModelPage(())
    registered, experiments = await searches.find(name_contains)
    names = {record.name for record in registered}
    allowed = await select(names | {record.name for record in experiments})
    found: list[RegisteredModel | Experiment] = [
        record for record in registered if record.name in allowed and not record.is_prompt
    ]
    found += [record for record in experiments if record.name in allowed and record.name not in names]
    end = start + max_results
    models = await _describe(client, found[start:end], readers=readers)
    return ModelPage(tuple(models), _encode(end) if len(found) > end else None)


class NameSearches:
    """Searches of all names for those that contain a text. Callers at about the same time share one."""

    def __init__(
        self,
        client: MlflowClient,
        kinds: Collection[NameSource],
        *,
        ttl_seconds: Callable[[], float],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._found: LRUCache[str, tuple[float, Found]] = LRUCache(_MAX_SEARCHES)
        self._flight: SingleFlight[str] = SingleFlight()

    async def find(self, contains: str) -> Found:
        """Return the registered models and the experiments whose names contain the text."""
        searched, found = self._found.get(contains, (0.0, None))
        if found is None or self._clock() - searched >= self._ttl_seconds():
            found = await self._flight.do(contains, lambda: self._search(contains))
            self._found[contains] = self._clock(), found
        return found

    async def close(self) -> None:
        """Cancel the running searches."""
        await self._flight.close()

    async def _search(self, contains: str) -> Found:
        condition = filters.name_contains(contains)

        async def registered(token: str) -> Page[RegisteredModel]:
            return await self._client.search_registered_models(condition, max_results=PAGE_SIZE, token=token)

        async def experiments(token: str) -> Page[Experiment]:
            return await self._client.search_experiments(condition, max_results=PAGE_SIZE, token=token)

        models = await all_pages(registered) if "registry" in self._kinds else []
        others = await all_pages(experiments) if "experiments" in self._kinds else []
        return (
            [record for record in models if contains in record.name],
            [record for record in others if contains in record.name],
        )


async def _describe(
    client: MlflowClient, records: list[RegisteredModel | Experiment], *, readers: Readers
) -> list[Model]:
    registered = [record for record in records if isinstance(record, RegisteredModel)]
    experiments = [record for record in records if isinstance(record, Experiment)]
    models = await bulk.gather_bounded(
        lambda record: RegisteredModelSource(client, record, readers=readers).to_model_with_latest(),
        registered,
    )
    return [
        *(model for model in models if model is not None),
        *await experiments_with_models(client, experiments, readers.runs),
    ]


def _encode(position: int) -> str:
    return urlsafe_b64encode(f"{_KIND}\n{position}".encode()).decode()


def _decode(token: str) -> int:
    try:
        kind, _, position = urlsafe_b64decode(token.encode("ascii")).decode().partition("\n")
    except (binascii.Error, ValueError):
        kind, position = "", ""
    if kind != _KIND or not (position.isascii() and position.isdigit() and len(position) <= _MAX_DIGITS):
        raise BadRequest(WRONG_PAGE)
    return int(position)
