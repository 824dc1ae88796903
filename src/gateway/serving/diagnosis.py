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

_MOST: Final = 1000


class Remedies:
    """Looks which of a version's requirements are missing here, and remembers what it found."""

    def __init__(self, catalog: Catalog, artifacts: ArtifactCache) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._found: OrderedDict[ModelKey, str] = OrderedDict()

    def known(self, key: ModelKey) -> str:
        """What was found when the version's load failed the last time; empty for nothing."""
        return self._found.get(key, "")

    async def find(self, version: ModelVersion) -> str:
        """A sentence for whoever asked for the version; empty where nothing can be told.

        Whatever goes wrong in here, the failure itself is what is to be told.
        """
        try:
            found = await self._look(version)
        except Exception as error:
            if not isinstance(error, GatewayError):
                logger.error("the requirements of %s could not be looked at", version.key, exc_info=error)
            found = ""
        self._found.pop(version.key, None)
        self._found[version.key] = found
        if len(self._found) > _MOST:
            self._found.popitem(last=False)
        return found

    async def _look(self, version: ModelVersion) -> str:
        lines = await self._artifacts.read(
            version.key, lambda: self._catalog.locate(version), "requirements.txt"
        )
        wanted = requirements.parse(lines or b"")
        return requirements.remedy(await asyncio.to_thread(requirements.missing, wanted))
