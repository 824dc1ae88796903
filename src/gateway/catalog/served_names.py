"""Tells what is served under a name: rights are those of that, and of nothing else with the same name."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.catalog.sources import find_record
from gateway.concurrency.singleflight import SingleFlight
from gateway.errors import (
    BadUpstreamResponse,
    NotFound,
    UpstreamTimeout,
    UpstreamUnavailable,
    VersionNotServable,
)
from gateway.mlflow_client import Experiment, RegisteredModel, all_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gateway.mlflow_client import MlflowClient, Page
    from gateway.settings.types import NameSource

_PAGE_SIZE: Final = 1000
_FRESH_SECONDS: Final = 30.0


class ServedNames:
    """What the gateway's own account finds under a name: a registered model hides an experiment.

    Its calls raise UpstreamUnavailable for all that MLflow fails with, and SingleFlightClosed.
    """

    def __init__(
        self,
        client: MlflowClient,
        kinds: Collection[NameSource],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._client = client
        self._kinds = frozenset(kinds)
        self._clock = clock
        self._registered: frozenset[str] = frozenset()
        self._fresh_until = clock()
        self._flight: SingleFlight[str] = SingleFlight()

    @property
    def kinds(self) -> frozenset[NameSource]:
        """The kinds of models that are served."""
        return self._kinds

    async def find(self, name: str) -> RegisteredModel | Experiment | None:
        """Return what is served under `name`, or None."""
        try:
            return await find_record(self._client, name, kinds=self._kinds)
        except (NotFound, VersionNotServable):
            return None
        except (BadUpstreamResponse, UpstreamTimeout) as error:
            raise UpstreamUnavailable(str(error)) from error

    async def registered(self) -> frozenset[str]:
        """Return the names of all registered models, read at most 30 seconds ago; none if not served."""
        if "registry" not in self._kinds:
            return frozenset()
        if self._clock() >= self._fresh_until:
            self._registered = await self._flight.do("registered models", self._search)
        return self._registered

    async def close(self) -> None:
        """Cancel the running search; leave the MLflow client open."""
        await self._flight.close()

    async def _search(self) -> frozenset[str]:
        async def page(token: str) -> Page[RegisteredModel]:
            return await self._client.search_registered_models(max_results=_PAGE_SIZE, token=token)

        started = self._clock()
        try:
            records = await all_pages(page)
        except (BadUpstreamResponse, UpstreamTimeout) as error:
            raise UpstreamUnavailable(str(error)) from error
        self._fresh_until = started + _FRESH_SECONDS
        return frozenset(record.name for record in records if not record.is_prompt)
