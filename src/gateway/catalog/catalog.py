"""The catalog: lists models and resolves references to versions."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.catalog import best, listing, readable
from gateway.catalog.availability import UpstreamAvailability
from gateway.catalog.cache import StaleLog, StaleWhileRevalidateCache
from gateway.catalog.hidden import HiddenExperiments
from gateway.catalog.metrics import MetricReader
from gateway.catalog.readers import Readers
from gateway.catalog.registered_models import RegisteredModelSource
from gateway.catalog.run_folders import RunFolders
from gateway.catalog.run_reader import RunReader
from gateway.catalog.source_check import CheckedLocator
from gateway.catalog.sources import VersionSource, find_experiment, find_registered_model, find_source
from gateway.catalog.versions import require_artifacts, require_ready
from gateway.concurrency.singleflight import SingleFlight
from gateway.domain.models import BestChoice, ModelDetails, Resolution, RunDetails
from gateway.domain.refs import Alias, Best, Latest, ModelId, ModelRef, Number, RunId
from gateway.errors import (
    BadUpstreamResponse,
    NotFound,
    UpstreamTimeout,
    UpstreamUnavailable,
    VersionNotServable,
)
from gateway.mlflow_client import RequestRejected
from workers.metrics import Counters, CounterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gateway.catalog.readable import Select
    from gateway.domain.models import Model, ModelPage, ModelVersion
    from gateway.mlflow_client import MlflowClient
    from gateway.settings import CurrentSettings

STALE_HITS: Final = CounterSpec(
    "catalog_stale_hits", "Requests served with a cached answer of MLflow that was out of date."
)
_MAX_NUMBER_DIGITS = 18


class Catalog:
    """A catalog of the MLflow server's models that caches resolutions, also while MLflow is unavailable."""

    def __init__(
        self, client: MlflowClient, settings: CurrentSettings, *, counters: Counters | None = None
    ) -> None:
        self._client = client
        self._settings = settings
        # Two readers, so that resolving a version never waits for a list of models.
        self._readers = Readers(RunReader(client), MetricReader(client), RunFolders(client))
        self._listing_readers = replace(self._readers, runs=RunReader(client))
        self._model_flight: SingleFlight[str] = SingleFlight()
        self._counters = counters or Counters()
        self._kinds = settings.value.sources
        self._searches = readable.NameSearches(
            client, self._kinds, ttl_seconds=lambda: settings.value.catalog_ttl_seconds
        )
        self._locator = CheckedLocator(client, settings.value.effective_source_check)
        self._hidden = HiddenExperiments(client, self._counters)
        self._stale_log = StaleLog()
        self._availability = UpstreamAvailability(self._counters)
        self._cache: StaleWhileRevalidateCache[ModelRef, Resolution] = StaleWhileRevalidateCache(
            self._look_up, ttl=lambda: settings.value.catalog_ttl_seconds
        )

    @property
    def ever_reached(self) -> bool:
        """Whether any call to MLflow has succeeded."""
        return self._availability.ever_reached

    @property
    def unavailable_reason(self) -> str | None:
        """The error of the last call to MLflow, or None if it succeeded."""
        return self._availability.unavailable_reason

    @property
    def unavailable_since(self) -> datetime | None:
        """The time of the first failure since the last successful call, or None."""
        return self._availability.unavailable_since

    async def reconnect_forever(self) -> None:
        """Call MLflow until it answers, at the start and whenever it is unavailable; runs until cancelled."""
        await self._availability.reconnect_forever(self.probe)

    def resolve_cached(self, ref: ModelRef) -> Resolution | None:
        """Return the cached resolution of `ref` if it is fresh, without waiting: the hot path."""
        return self._cache.get_fresh(ref)

    async def resolve(self, ref: ModelRef) -> Resolution:
        """Return the READY version that `ref` resolves to, or the last known one if MLflow does not answer.

        Raise NotFound, VersionNotServable, TooManyRuns, BestMetricUndecided or RequestRejected. If no
        resolution is cached and MLflow fails in any other way, raise UpstreamUnavailable.
        """
        cached = await self._cache.get(ref)
        if not cached.stale:
            return cached.value
        self.record_stale(ref, cached.age)
        return replace(cached.value, stale=True)

    def record_stale(self, ref: ModelRef, age: float) -> None:
        """Count and log that a request got an answer of MLflow that is out of date, `age` seconds old."""
        self._counters.increment(STALE_HITS)
        self._stale_log.record_stale(ref, age)

    async def list_models(self, *, max_results: int, page_token: str | None, name_contains: str) -> ModelPage:
        """Return a page of models whose name contains `name_contains`; raise BadRequest for a wrong token."""
        with self._mlflow_call():
            return await listing.list_models(
                self._client,
                readers=self._listing_readers,
                options=listing.ListingOptions(self._kinds, on_hidden=self._hidden.tell),
                max_results=max_results,
                page_token=page_token,
                name_contains=name_contains,
            )

    async def list_readable(
        self, select: Select, *, max_results: int, page_token: str | None, name_contains: str
    ) -> ModelPage:
        """Return a page of the models whose names `select` lets pass; raise BadRequest for a wrong token."""
        with self._mlflow_call():
            return await readable.list_readable(
                self._client,
                select,
                searches=self._searches,
                readers=self._listing_readers,
                max_results=max_results,
                page_token=page_token,
                name_contains=name_contains,
            )

    async def list_all_models(self) -> list[Model]:
        """Return every model of every page."""
        models: list[Model] = []
        token: str | None = None
        while True:
            page = await self.list_models(max_results=listing.PAGE_SIZE, page_token=token, name_contains="")
            models += page.models
            token = page.next_page_token
            if not token:
                return models

    async def get_model(self, name: str) -> ModelDetails:
        """Return a model with all its versions, and which of them are `latest` and `best`.

        Concurrent calls for the same model share one result. Raise what `resolve` raises.
        """
        return await self._model_flight.do(name, lambda: self._get_model(name))

    async def _get_model(self, name: str) -> ModelDetails:
        with self._mlflow_call():
            source = await self._find_source(name, self._listing_readers)
            details = await source.describe(self._preferences(source))
            if not self._may_hide(source):
                return details
            hidden = await self._hidden.find(name)
            return replace(details, hides_experiment=hidden.experiment_id if hidden else None)

    async def get_version(self, ref: ModelRef) -> ModelVersion:
        """Return the version that `ref` resolves to, whatever its status, with aliases and metrics."""
        with self._mlflow_call():
            source = await self._find_source(ref.name, self._listing_readers)
            if isinstance(ref.selector, ModelId | RunId):
                return await source.get_by_id(ref.selector, metrics=True)
            number = await self._resolve_number(source, ref)
            return await source.get_version(number, metrics=True)

    async def get_run(self, run_id: str) -> RunDetails | None:
        """Return the run that produced a version, or None if it does not exist."""
        if not run_id:
            return None
        try:
            with self._mlflow_call():
                run = await self._client.get_run(run_id)
        except NotFound:
            return None
        return RunDetails(
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            name=run.name,
            status=run.status,
            params=run.params,
            metrics=run.metrics,
            tags=run.tags,
        )

    async def resolve_uri(self, version: ModelVersion) -> str:
        """Return the artifact store's URI of the version's files.

        Raise VersionNotServable if it has none, and ArtifactLocationForbidden if they are another's and the
        settings do not allow that.
        """
        with self._mlflow_call():
            return await self._locator.locate(require_artifacts(version))

    async def explain_not_served(self, name: str) -> str:
        """Return a sentence for the operator if the settings leave out what has this name, else nothing."""
        with self._mlflow_call():
            if "registry" not in self._kinds and await find_registered_model(self._client, name):
                return " It is a registered model, which GATEWAY_SOURCES leaves out."
            if "experiments" not in self._kinds and await find_experiment(self._client, name):
                return " It is an experiment, which GATEWAY_SOURCES leaves out."
        return ""

    async def probe(self) -> None:
        """Call MLflow once; raise BadUpstreamResponse, UpstreamUnavailable or UpstreamTimeout on failure."""
        with self._availability.observe():
            await self._client.search_registered_models(max_results=1)

    async def close(self) -> None:
        """Cancel the running lookups; leave the MLflow client open."""
        await self._cache.close()
        await self._model_flight.close()
        await self._searches.close()
        await self._hidden.close()
        await self._locator.close()
        await self._readers.folders.close()
        for readers in (self._readers, self._listing_readers):
            await readers.runs.close()

    @contextmanager
    def _mlflow_call(self) -> Iterator[None]:
        """Record the outcome of the calls in the block; raise all upstream faults as UpstreamUnavailable."""
        try:
            with self._availability.observe():
                yield
        except RequestRejected:
            raise
        except (BadUpstreamResponse, UpstreamTimeout) as error:
            raise UpstreamUnavailable(str(error)) from error

    async def _look_up(self, ref: ModelRef) -> Resolution:
        resolution = await self._resolve_upstream(ref)
        self._stale_log.record_fresh()
        return resolution

    async def _resolve_upstream(self, ref: ModelRef) -> Resolution:
        with self._mlflow_call():
            source = await self._find_source(ref.name, self._readers)
            if isinstance(ref.selector, Best):
                choice, version = await self._resolve_best(source, ref.selector)
                return Resolution(require_ready(version), choice)
            if isinstance(ref.selector, Latest):
                return Resolution(require_ready(await self._resolve_latest(source)))
            if isinstance(ref.selector, ModelId | RunId):
                return Resolution(require_ready(await source.get_by_id(ref.selector)))
            return Resolution(
                require_ready(await source.get_version(await self._resolve_number(source, ref)))
            )

    async def _find_source(self, name: str, readers: Readers) -> VersionSource:
        source = await find_source(self._client, name, readers=readers, kinds=self._kinds)
        if self._may_hide(source):
            self._hidden.look_up_soon(name)
        return source

    def _may_hide(self, source: VersionSource) -> bool:
        return isinstance(source, RegisteredModelSource) and "experiments" in self._kinds

    async def _resolve_number(self, source: VersionSource, ref: ModelRef) -> str:
        if isinstance(ref.selector, Number):
            return _validate_number(source, ref.selector.value)
        if isinstance(ref.selector, Alias):
            return _resolve_alias(source, ref.selector.name)
        if isinstance(ref.selector, Latest):
            return (await self._resolve_latest(source)).version
        if isinstance(ref.selector, Best):
            return (await self._choose_best(source, ref.selector)).version
        raise AssertionError  # an id has no number

    async def _resolve_latest(self, source: VersionSource) -> ModelVersion:
        version = await source.latest_ready()
        if version is None:
            raise VersionNotServable(await source.no_ready_version_message())
        return version

    async def _resolve_best(self, source: VersionSource, selector: Best) -> tuple[BestChoice, ModelVersion]:
        choice = await self._choose_best(source, selector)
        return choice, await source.get_version(choice.version, metrics=True)

    async def _choose_best(self, source: VersionSource, selector: Best) -> BestChoice:
        choice = await source.best(selector, self._preferences(source))
        if choice is None:
            raise VersionNotServable(await source.no_ready_version_message())
        return choice

    def _preferences(self, source: VersionSource) -> tuple[best.Preference, best.Preference]:
        settings = self._settings.value
        return source.preference, best.Preference(settings.best_metric, settings.best_order)


def _validate_number(source: VersionSource, number: int) -> str:
    text = str(number)
    # MLflow's own client hangs for over a minute on a number of forty digits.
    if number < 1 or len(text) > _MAX_NUMBER_DIGITS:
        raise NotFound(f"There is no such version of {source.name!r}.")
    return text


def _resolve_alias(source: VersionSource, alias: str) -> str:
    number = source.aliases.get(alias)
    if number is None:
        raise NotFound(f"{source.name!r} has no alias {alias!r}.")
    return number
