"""Which models there are, and which version a reference means now."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.catalog import best, listing, locations
from gateway.catalog.availability import Standing
from gateway.catalog.cache import Memory
from gateway.catalog.run_reader import Runs
from gateway.catalog.sources import Source, find
from gateway.catalog.staleness import Staleness
from gateway.catalog.versions import READY, servable, with_model
from gateway.concurrency.singleflight import Once
from gateway.domain.models import BestChoice, ModelDetails, Resolution, RunDetails
from gateway.domain.refs import Alias, Best, Latest, ModelRef, Number
from gateway.errors import BestUndecided, NotFound, NotServable, UpstreamAway, UpstreamSlow, UpstreamWrong
from gateway.mlflow_client import CallRefused
from workers.metrics import CounterSpec, Counters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from gateway.domain.models import ModelPage, ModelVersion
    from gateway.mlflow_client import MlflowClient
    from gateway.settings import Settings

STALE_RESOLUTIONS: Final = CounterSpec(
    "stale_resolutions", "Requests that got what MLflow said before, since it did not answer in time."
)
_LONGEST_NUMBER = 18


class Catalog:
    """The MLflow server's models; resolutions are kept for seconds, and while MLflow is away."""

    def __init__(self, client: MlflowClient, settings: Settings, *, tally: Counters | None = None) -> None:
        """`tally` is where resolutions older than their time are counted."""
        self._client = client
        # Two of them, so that no prediction waits for lists.
        self._runs, self._shown_runs = Runs(client), Runs(client)
        self._shown: Once[str] = Once()
        self._tally = tally or Counters()
        self._staleness = Staleness()
        self._default = best.Preference(settings.best_metric, settings.best_order)
        self._standing = Standing(self._tally)
        self._memory: Memory[ModelRef, Resolution] = Memory(self._look_up, ttl=settings.catalog_ttl_seconds)

    def change(self, settings: Settings) -> None:
        """Have another preference for `best` and another time for answers, from now on."""
        self._default = best.Preference(settings.best_metric, settings.best_order)
        self._memory.change(ttl=settings.catalog_ttl_seconds)

    @property
    def reached(self) -> bool:
        """Whether a real call has succeeded once."""
        return self._standing.reached

    @property
    def away(self) -> str | None:
        """Why the last call to MLflow failed; None when it worked."""
        return self._standing.away

    @property
    def away_since(self) -> datetime | None:
        """When the first of the calls failed that have failed since the last one that worked."""
        return self._standing.since

    async def doubtful(self) -> None:
        """Wait until MLflow is away, or has not been reached yet."""
        await self._standing.doubtful.wait()

    def fresh(self, ref: ModelRef) -> Resolution | None:
        """What `ref` means, where that is known and not yet old: the hot path, without waiting."""
        return self._memory.fresh(ref)

    async def resolve(self, ref: ModelRef) -> Resolution:
        """The READY version that `ref` means now, or meant when MLflow last answered.

        Raises NotFound, NotServable, TooManyRuns and BestUndecided; where nothing is known, UpstreamAway
        for whatever is wrong with MLflow, and CallRefused.
        """
        answer = await self._memory.get(ref)
        if not answer.stale:
            return answer.value
        self._tally.increment(STALE_RESOLUTIONS)
        self._staleness.given(ref, answer.age)
        return replace(answer.value, stale=True)

    async def models(self, *, max_results: int, page_token: str | None, name_contains: str) -> ModelPage:
        """A page of all models whose name holds `name_contains`; BadRequest for a foreign token."""
        with self._asking():
            return await listing.page(
                self._client,
                runs=self._shown_runs,
                max_results=max_results,
                page_token=page_token,
                name_contains=name_contains,
            )

    async def model(self, name: str) -> ModelDetails:
        """A model with all its versions, and what `latest` and `best` would pick now.

        Whoever asks for it meanwhile gets the same; raises TooManyRuns, and what `resolve` raises.
        """
        return await self._shown.do(name, lambda: self._model(name))

    async def _model(self, name: str) -> ModelDetails:
        with self._asking():
            source = await find(self._client, name, runs=self._shown_runs)
            versions = await source.versions()
        preferences = (source.preference, self._default)
        return await asyncio.to_thread(_details, source, versions, preferences)

    async def version(self, ref: ModelRef) -> ModelVersion:
        """The version that `ref` means, whatever its status, with aliases and metrics."""
        with self._asking():
            source = await find(self._client, ref.name, runs=self._shown_runs)
            number = await self._number(source, ref)
            return await source.numbered(number, metrics=True)

    async def run(self, run_id: str) -> RunDetails | None:
        """The run that made a version; None where it is gone."""
        if not run_id:
            return None
        try:
            with self._asking():
                run = await self._client.run(run_id)
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

    async def locate(self, version: ModelVersion) -> str:
        """The store's own URI of the version's files; NotServable where it has none."""
        with self._asking():
            return await locations.locate(self._client, with_model(version).uri)

    async def probe(self) -> None:
        """Make one real call; raises UpstreamWrong, UpstreamAway or UpstreamSlow where it fails."""
        with self._standing.watch():
            await self._client.search_registered_models(max_results=1)

    async def close(self) -> None:
        """End the lookups that run; the client is closed by who opened it."""
        await self._memory.close()
        await self._shown.close()
        for runs in (self._runs, self._shown_runs):
            await runs.close()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Whatever is wrong with MLflow is UpstreamAway to who asks: it may be right in a moment."""
        try:
            with self._standing.watch():
                yield
        except CallRefused:
            raise
        except (UpstreamWrong, UpstreamSlow) as error:
            raise UpstreamAway(str(error)) from error

    async def _look_up(self, ref: ModelRef) -> Resolution:
        resolution = await self._looked_up(ref)
        self._staleness.answered()
        return resolution

    async def _looked_up(self, ref: ModelRef) -> Resolution:
        with self._asking():
            source = await find(self._client, ref.name, runs=self._runs)
            if isinstance(ref.selector, Best):
                choice, version = await self._best(source, ref.selector)
                return Resolution(servable(version), choice)
            if isinstance(ref.selector, Latest):
                return Resolution(servable(await self._latest(source)))
            return Resolution(servable(await source.numbered(await self._number(source, ref))))

    async def _number(self, source: Source, ref: ModelRef) -> str:
        if isinstance(ref.selector, Number):
            return _number_text(source, ref.selector.value)
        if isinstance(ref.selector, Alias):
            return _aliased(source, ref.selector.name)
        if isinstance(ref.selector, Latest):
            return (await self._latest(source)).version
        choice, _ = await self._best(source, ref.selector)
        return choice.version

    async def _latest(self, source: Source) -> ModelVersion:
        version = await source.latest()
        if version is None:
            raise await _none_ready(source)
        return version

    async def _best(self, source: Source, wish: Best) -> tuple[BestChoice, ModelVersion]:
        extremes = await source.extremes()
        if extremes is None:
            raise await _none_ready(source)
        choice = best.decide(extremes, wish, preferences=(source.preference, self._default))
        return choice, await source.numbered(choice.version, metrics=True)


def _details(
    source: Source, versions: list[ModelVersion], preferences: Iterable[best.Preference]
) -> ModelDetails:
    ready = _ready(versions)
    try:
        choice = best.choose(ready, Best(), preferences=preferences) if ready else None
    except BestUndecided:
        choice = None
    return ModelDetails(source.model(ready[0].version if ready else None), tuple(versions), choice)


def _ready(versions: list[ModelVersion]) -> list[ModelVersion]:
    return [version for version in versions if version.status == READY and version.uri]


async def _none_ready(source: Source) -> NotFound | NotServable:
    if await source.any_version():
        return NotServable(f"No version of {source.name!r} is READY.")
    return NotFound(f"{source.name!r} has no version.")


def _number_text(source: Source, number: int) -> str:
    text = str(number)
    # MLflow's own client hangs for over a minute on a number of forty digits.
    if number < 1 or len(text) > _LONGEST_NUMBER:
        raise NotFound(f"There is no such version of {source.name!r}.")
    return text


def _aliased(source: Source, alias: str) -> str:
    number = source.aliases.get(alias)
    if number is None:
        raise NotFound(f"{source.name!r} has no alias {alias!r}.")
    return number
