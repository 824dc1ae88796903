"""Locates versions' files, and applies GATEWAY_SOURCE_CHECK to what is found."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache, TTLCache

from gateway.catalog import locations, ownership
from gateway.concurrency.singleflight import SingleFlight
from gateway.errors import ArtifactLocationForbidden, GatewayError

if TYPE_CHECKING:
    from gateway.catalog.locations import Trail
    from gateway.domain.models import ModelVersion
    from gateway.mlflow_client import MlflowClient
    from gateway.settings.types import SourceCheck
    from workers.protocol.messages import ModelKey

    _Place = tuple[ModelKey, str]

logger = logging.getLogger(__name__)

_MAX_REMEMBERED: Final = 10_000
_TELL_SECONDS: Final = 3600.0
_FAULT_SECONDS: Final = 60.0


class CheckedLocator:
    """A locator of versions' files that refuses, or tells of, files that are not the version's own.

    A version whose location names another version leads elsewhere when that one is made anew. So what was
    found counts for the version and the place that it leads to. A fault is kept for a minute, because one
    call for a version's details locates it several times. It is logged once in `tell_seconds`.
    """

    def __init__(
        self, client: MlflowClient, mode: SourceCheck, *, tell_seconds: float = _TELL_SECONDS
    ) -> None:
        self._client = client
        self._mode = mode
        self._right: LRUCache[_Place, bool] = LRUCache(_MAX_REMEMBERED)
        self._faults: TTLCache[_Place, str] = TTLCache(_MAX_REMEMBERED, _FAULT_SECONDS)
        self._told: TTLCache[_Place, bool] = TTLCache(_MAX_REMEMBERED, tell_seconds)
        self._single_flight: SingleFlight[_Place] = SingleFlight()

    async def locate(self, version: ModelVersion) -> str:
        """Return the artifact store's URI of the version's files.

        Raise ArtifactLocationForbidden if they are not its own and that matters, and what
        `locations.follow` raises.
        """
        trail = await locations.follow(self._client, version.uri)
        place = version.key, trail.uri
        if self._mode == "off" or place in self._right:
            return trail.uri
        fault = self._faults.get(place)
        if fault is None:
            fault = await self._single_flight.do(place, lambda: self._find_fault(version, trail))
        if fault is None:
            return trail.uri
        self._tell(version.key, trail, fault=fault)
        if self._mode == "own":
            raise ArtifactLocationForbidden(
                "This version's files are not those of its own run or logged model, which "
                "GATEWAY_SOURCE_CHECK=own requires."
            )
        return trail.uri

    async def close(self) -> None:
        """Cancel the running checks."""
        await self._single_flight.close()

    async def _find_fault(self, version: ModelVersion, trail: Trail) -> str | None:
        try:
            fault = await ownership.find_fault(self._client, version, trail)
        except GatewayError as error:
            if self._mode == "own":
                raise
            logger.debug("Cannot tell whether the files of %s are its own: %s", version.key, error)
            return None
        if fault is None:
            self._right[version.key, trail.uri] = True
        else:
            self._faults[version.key, trail.uri] = fault
        return fault

    def _tell(self, key: ModelKey, trail: Trail, *, fault: str) -> None:
        if (key, trail.uri) in self._told:
            return
        self._told[key, trail.uri] = True
        location = locations.strip_password(trail.uri)
        outcome = "refused" if self._mode == "own" else "served; GATEWAY_SOURCE_CHECK=own would refuse it"
        logger.warning(
            "The files of %s are not its own: %s: %s. It is %s",
            key,
            fault,
            location,
            outcome,
            extra={"event": "foreign_location", "model": str(key), "location": location},
        )
