"""Which models there are, and which version a reference means now."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.catalog import best, listing, locations
from gateway.catalog.availability import UpstreamAvailability
from gateway.catalog.cache import StaleWhileRevalidateCache
from gateway.catalog.run_reader import RunReader
from gateway.catalog.sources import VersionSource, find_source
from gateway.catalog.staleness import StaleLog
from gateway.catalog.versions import READY, require_artifacts, require_ready
from gateway.concurrency.singleflight import SingleFlight
from gateway.domain.models import BestChoice, ModelDetails, Resolution, RunDetails
from gateway.domain.refs import Alias, Best, Latest, ModelRef, Number
from gateway.errors import (
    BadUpstreamResponse,
    BestMetricUndecided,
    NotFound,
    UpstreamTimeout,
    UpstreamUnavailable,
    VersionNotServable,
)
from gateway.mlflow_client import RequestRejected
from workers.metrics import Counters, CounterSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from gateway.domain.models import ModelPage, ModelVersion
    from gateway.mlflow_client import MlflowClient
    from gateway.settings import Settings

STALE_RESOLUTIONS: Final = CounterSpec(
    "stale_resolutions", "Requests that got what MLflow said before, since it did not answer in time."
)
_MAX_NUMBER_DIGITS = 18


class Catalog:
    """The MLflow server's models; resolutions are kept for seconds, and while MLflow is away."""

    def __init__(self, client: MlflowClient, settings: Settings, *, counters: Counters | None = None) -> None:
        """`tally` is where resolutions older than their time are counted."""
        self._client = client
        # Two of them, so that no prediction waits for lists.
        self._run_reader, self._listing_run_reader = RunReader(client), RunReader(client)
        self._model_flight: SingleFlight[str] = SingleFlight()
        self._counters = counters or Counters()
        self._stale_log = StaleLog()
        self._default_preference = best.Preference(settings.best_metric, settings.best_order)
        self._availability = UpstreamAvailability(self._counters)
        self._cache: StaleWhileRevalidateCache[ModelRef, Resolution] = StaleWhileRevalidateCache(
            self._look_up, ttl=settings.catalog_ttl_seconds
        )

    def change(self, settings: Settings) -> None:
        """Have another preference for `best` and another time for answers, from now on."""
        self._default_preference = best.Preference(settings.best_metric, settings.best_order)
        self._cache.change(ttl=settings.catalog_ttl_seconds)

    @property
    def ever_reached(self) -> bool:
        """Whether a real call has succeeded once."""
        return self._availability.ever_reached

    @property
    def unavailable_reason(self) -> str | None:
        """Why the last call to MLflow failed; None when it worked."""
        return self._availability.unavailable_reason

    @property
    def unavailable_since(self) -> datetime | None:
        """When the first of the calls failed that have failed since the last one that worked."""
        return self._availability.unavailable_since

    async def reconnect_forever(self) -> None:
        """Call MLflow until it answers, at the start and whenever it is unavailable; runs until cancelled."""
        await self._availability.reconnect_forever(self.probe)

    def resolve_cached(self, ref: ModelRef) -> Resolution | None:
        """What `ref` means, where that is known and not yet old: the hot path, without waiting."""
        return self._cache.get_fresh(ref)

    async def resolve(self, ref: ModelRef) -> Resolution:
        """The READY version that `ref` means now, or meant when MLflow last answered.

        Raises NotFound, NotServable, TooManyRuns and BestUndecided; where nothing is known, UpstreamAway
        for whatever is wrong with MLflow, and RequestRejected.
        """
        answer = await self._cache.get(ref)
        if not answer.stale:
            return answer.value
        self._counters.increment(STALE_RESOLUTIONS)
        self._stale_log.record_stale(ref, answer.age)
        return replace(answer.value, stale=True)

    async def list_models(self, *, max_results: int, page_token: str | None, name_contains: str) -> ModelPage:
        """A page of all models whose name holds `name_contains`; BadRequest for a foreign token."""
        with self._mlflow_call():
            return await listing.list_models(
                self._client,
                runs=self._listing_run_reader,
                max_results=max_results,
                page_token=page_token,
                name_contains=name_contains,
            )

    async def get_model(self, name: str) -> ModelDetails:
        """A model with all its versions, and what `latest` and `best` would pick now.

        Whoever asks for it meanwhile gets the same; raises TooManyRuns, and what `resolve` raises.
        """
        return await self._model_flight.do(name, lambda: self._get_model(name))

    async def _get_model(self, name: str) -> ModelDetails:
        with self._mlflow_call():
            source = await find_source(self._client, name, runs=self._listing_run_reader)
            versions = await source.list_versions()
        preferences = (source.preference, self._default_preference)
        return await asyncio.to_thread(_build_details, source, versions, preferences)

    async def get_version(self, ref: ModelRef) -> ModelVersion:
        """The version that `ref` means, whatever its status, with aliases and metrics."""
        with self._mlflow_call():
            source = await find_source(self._client, ref.name, runs=self._listing_run_reader)
            number = await self._resolve_number(source, ref)
            return await source.get_version(number, metrics=True)

    async def get_run(self, run_id: str) -> RunDetails | None:
        """The run that made a version; None where it is gone."""
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
        """The store's own URI of the version's files; NotServable where it has none."""
        with self._mlflow_call():
            return await locations.resolve_uri(self._client, require_artifacts(version).uri)

    async def probe(self) -> None:
        """Make one real call; raises UpstreamWrong, UpstreamAway or UpstreamSlow where it fails."""
        with self._availability.observe():
            await self._client.search_registered_models(max_results=1)

    async def close(self) -> None:
        """End the lookups that run; the client is closed by who opened it."""
        await self._cache.close()
        await self._model_flight.close()
        for runs in (self._run_reader, self._listing_run_reader):
            await runs.close()

    @contextmanager
    def _mlflow_call(self) -> Iterator[None]:
        """Whatever is wrong with MLflow is UpstreamAway to who asks: it may be right in a moment."""
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
            source = await find_source(self._client, ref.name, runs=self._run_reader)
            if isinstance(ref.selector, Best):
                choice, version = await self._resolve_best(source, ref.selector)
                return Resolution(require_ready(version), choice)
            if isinstance(ref.selector, Latest):
                return Resolution(require_ready(await self._resolve_latest(source)))
            return Resolution(
                require_ready(await source.get_version(await self._resolve_number(source, ref)))
            )

    async def _resolve_number(self, source: VersionSource, ref: ModelRef) -> str:
        if isinstance(ref.selector, Number):
            return _validate_number(source, ref.selector.value)
        if isinstance(ref.selector, Alias):
            return _resolve_alias(source, ref.selector.name)
        if isinstance(ref.selector, Latest):
            return (await self._resolve_latest(source)).version
        choice, _ = await self._resolve_best(source, ref.selector)
        return choice.version

    async def _resolve_latest(self, source: VersionSource) -> ModelVersion:
        version = await source.latest_ready()
        if version is None:
            raise await _no_ready_version_error(source)
        return version

    async def _resolve_best(self, source: VersionSource, wish: Best) -> tuple[BestChoice, ModelVersion]:
        extremes = await source.extremes()
        if extremes is None:
            raise await _no_ready_version_error(source)
        choice = best.choose_from_extremes(
            extremes, wish, preferences=(source.preference, self._default_preference)
        )
        return choice, await source.get_version(choice.version, metrics=True)


def _build_details(
    source: VersionSource, versions: list[ModelVersion], preferences: Iterable[best.Preference]
) -> ModelDetails:
    ready = _ready_versions(versions)
    try:
        choice = best.choose_from_versions(ready, Best(), preferences=preferences) if ready else None
    except BestMetricUndecided:
        choice = None
    return ModelDetails(source.to_model(ready[0].version if ready else None), tuple(versions), choice)


def _ready_versions(versions: list[ModelVersion]) -> list[ModelVersion]:
    return [version for version in versions if version.status == READY and version.uri]


async def _no_ready_version_error(source: VersionSource) -> NotFound | VersionNotServable:
    if await source.has_versions():
        return VersionNotServable(f"No version of {source.name!r} is READY.")
    return NotFound(f"{source.name!r} has no version.")


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
