"""What a node itself knows of the versions that gateways name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.catalog.versions import require_ready
from gateway.domain.refs import ModelRef, parse_selector
from gateway.errors import BadUpstreamResponse, UpstreamTimeout, UpstreamUnavailable, VersionNotServable

if TYPE_CHECKING:
    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.domain.models import ModelVersion


class VersionConfirmation:
    """A check of versions against MLflow, since a gateway could name one and describe another's files.

    What was fetched for a key stays in the cache under that key, for all gateways.
    """

    def __init__(self, catalog: Catalog, artifacts: ArtifactCache) -> None:
        self._catalog = catalog
        self._artifacts = artifacts

    async def confirm(self, version: ModelVersion) -> ModelVersion:
        """Return MLflow's record of the version; the given one if MLflow is away and its files are here.

        Raise VersionNotServable if MLflow has another version of that name and number, and what
        `Catalog.get_version` raises.
        """
        ref = ModelRef(version.name, parse_selector(version.version))
        try:
            known = require_ready(await self._catalog.get_version(ref))
        except (UpstreamUnavailable, UpstreamTimeout, BadUpstreamResponse):
            if await self._artifacts.has(version.key):  # they were confirmed when they were fetched
                return version
            raise
        if known.key != version.key:
            raise VersionNotServable("MLflow has another version of this name and number than was asked for.")
        return known
