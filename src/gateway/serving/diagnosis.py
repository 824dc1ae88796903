"""What would help a version that cannot be loaded: found once for each failure, told with it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from gateway.domain import requirements
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.domain.models import ModelVersion
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_MAX_ENTRIES: Final = 1000


class LoadDiagnosis:
    """Looks which of a version's requirements are missing here, and remembers what it found."""

    def __init__(self, catalog: Catalog, artifacts: ArtifactCache) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._hints: OrderedDict[ModelKey, str] = OrderedDict()

    def cached(self, key: ModelKey) -> str:
        """What was found when the version's load failed the last time; empty for nothing."""
        return self._hints.get(key, "")

    async def diagnose(self, version: ModelVersion) -> str:
        """A sentence for whoever asked for the version; empty where nothing can be told.

        Whatever goes wrong in here, the failure itself is what is to be told.
        """
        try:
            found = await self._missing_requirements_hint(version)
        except Exception as error:
            if not isinstance(error, GatewayError):
                logger.error("the requirements of %s could not be looked at", version.key, exc_info=error)
            found = ""
        self._hints.pop(version.key, None)
        self._hints[version.key] = found
        if len(self._hints) > _MAX_ENTRIES:
            self._hints.popitem(last=False)
        return found

    async def _missing_requirements_hint(self, version: ModelVersion) -> str:
        lines = await self._artifacts.read_file(
            version.key, lambda: self._catalog.resolve_uri(version), "requirements.txt"
        )
        wanted = requirements.parse_requirements(lines or b"")
        return requirements.install_hint(await asyncio.to_thread(requirements.find_missing, wanted))
