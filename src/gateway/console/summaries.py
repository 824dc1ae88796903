"""What is known of the models on a page: lists, and which version is best, asked of MLflow in bounds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from cachetools import LRUCache

from gateway.catalog.cache import StaleWhileRevalidateCache
from gateway.console import shown
from gateway.domain.models import Model
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.api.keys import Components
    from gateway.auth.rights import Rights
    from gateway.console.shown import Shown
    from gateway.console.summary import Summary
    from gateway.domain.models import ModelPage

PAGE_SIZE: Final = 50
_MAX_LISTS: Final = 64
_MAX_MODELS: Final = 2_000
_MAX_SHOWN: Final = 100
_MAX_LIST_BYTES: Final = 16 * 2**20
_BYTES_PER_MODEL: Final = 1_000
_BYTES_PER_TEXT: Final = 64
_AT_ONCE: Final = 4
_MAX_RUNNING: Final = 4 * PAGE_SIZE
_KEPT_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 5.0


class Query(NamedTuple):
    """A page of the list of models: the text that names contain, and the token of the page."""

    contains: str = ""
    token: str = ""


class _Readable(NamedTuple):
    """A page of the models that some callers may read; equal for those with equal rights."""

    query: Query
    rights: Rights


class Summaries:
    """A cache of lists and models. However many pages are open, MLflow is asked once in a lifetime."""

    def __init__(self, components: Components) -> None:
        self._components = components
        settings = components.settings

        def ttl() -> float:
            return settings.value.catalog_ttl_seconds

        self._lists: StaleWhileRevalidateCache[Query, ModelPage] = StaleWhileRevalidateCache(
            self._look_up_list, ttl=ttl, max_entries=_MAX_LISTS, max_bytes=_MAX_LIST_BYTES, size=_list_bytes
        )
        self._readable: StaleWhileRevalidateCache[_Readable, ModelPage] = StaleWhileRevalidateCache(
            self._look_up_readable,
            ttl=ttl,
            max_entries=_MAX_LISTS,
            max_bytes=_MAX_LIST_BYTES,
            size=_list_bytes,
        )
        self._shown: StaleWhileRevalidateCache[str, Shown] = StaleWhileRevalidateCache(
            self._look_up_shown, ttl=ttl, max_entries=_MAX_SHOWN
        )
        self._summaries: LRUCache[str, tuple[float, object, Summary | None]] = LRUCache(_MAX_MODELS)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)

    async def page(self, query: Query, rights: Rights) -> ModelPage:
        """Return a page of the models that a caller may read; raise BadRequest for a wrong token."""
        if rights.reads == "all":
            return (await self._lists.get(query)).value
        page = (await self._readable.get(_Readable(query, rights))).value
        readable = await rights.readable([model.name for model in page.models])  # as it is by now
        return replace(page, models=tuple(model for model in page.models if model.name in readable))

    async def shown(self, name: str) -> Shown:
        """Return what pages show of a model; raise what `Catalog.get_model` raises."""
        return (await self._shown.get(name)).value

    def known(self, name: str) -> Summary | None:
        """Return the last summary of a model, if there is one."""
        return entry[2] if (entry := self._summaries.get(name)) else None

    def refresh(self, models: Iterable[Model]) -> list[asyncio.Task[None]]:
        """Look up, a few at a time, those whose summary is missing, old, or of another state of the model."""
        now = monotonic()
        for model in models:
            if len(self._running) >= _MAX_RUNNING:
                break  # the next look at the page asks for the rest
            at, state, _ = self._summaries.get(model.name, (0.0, None, None))
            if model.name not in self._running and (state != _state(model) or now >= at):
                task = asyncio.create_task(self._summarize(model), name=f"summarize {model.name}")
                self._running[model.name] = task
                task.add_done_callback(partial(self._forget, model.name))
        return list(self._running.values())

    def _forget(self, name: str, _: asyncio.Task[None]) -> None:
        self._running.pop(name, None)

    async def by_name(self, names: Iterable[str]) -> list[Model]:
        """Return the models with these names; of those that MLflow does not tell of, the name alone."""
        return list(await asyncio.gather(*map(self._find, names)))

    async def _find(self, name: str) -> Model:
        if (known := self.known(name)) is not None:
            return known.model
        async with self._limit:
            try:
                return (await self.shown(name)).summary.model
            except GatewayError:
                return Model(name, "registry")  # it is served on, though MLflow does not answer

    @property
    def running(self) -> int:
        """The number of models that are being looked up."""
        return len(self._running)

    async def close(self) -> None:
        """Cancel what runs."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lists.close()
        await self._readable.close()
        await self._shown.close()

    async def _look_up_list(self, query: Query) -> ModelPage:
        page = await self._components.catalog.list_models(
            max_results=PAGE_SIZE, page_token=query.token or None, name_contains=query.contains
        )
        return _bare(page)

    async def _look_up_readable(self, key: _Readable) -> ModelPage:
        page = await self._components.catalog.list_readable(
            key.rights.readable,
            max_results=PAGE_SIZE,
            page_token=key.query.token or None,
            name_contains=key.query.contains,
        )
        return _bare(page)

    async def _look_up_shown(self, name: str) -> Shown:
        details = await self._components.catalog.get_model(name)
        setting = self._components.settings.value.best_metric
        return await asyncio.to_thread(shown.show, details, setting=setting)

    async def _summarize(self, model: Model) -> None:
        async with self._limit:
            try:
                summary = (await self.shown(model.name)).summary
            except GatewayError:
                known = self.known(model.name)
                self._summaries[model.name] = monotonic() + _RETRY_SECONDS, _state(model), known
                return
        self._summaries[model.name] = monotonic() + _KEPT_SECONDS, _state(model), summary


def _state(model: Model) -> object:
    return model.latest, model.updated, hash(tuple(sorted(model.aliases.items())))


def _bare(page: ModelPage) -> ModelPage:
    """Return a page without the texts that no list shows."""
    return replace(page, models=tuple(shown.bare(model) for model in page.models))


def _list_bytes(page: ModelPage) -> int:
    aliases = sum(len(alias) + _BYTES_PER_TEXT for model in page.models for alias in model.aliases)
    return aliases + sum(len(model.name) + _BYTES_PER_MODEL for model in page.models)
