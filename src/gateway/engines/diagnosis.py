"""Explains why a version failed to load: names the requirements that are not installed here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.domain import requirements
from gateway.errors import GatewayError
from gateway.model_files.version_files import REQUIREMENTS

if TYPE_CHECKING:
    from gateway.domain.models import ModelVersion
    from gateway.model_files.version_files import VersionFiles
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_MAX_ENTRIES: Final = 1000


class LoadDiagnosis:
    """A lookup of a version's missing requirements that keeps the last result per version."""

    def __init__(self, files: VersionFiles) -> None:
        self._files = files
        self._hints: LRUCache[ModelKey, str] = LRUCache(_MAX_ENTRIES)

    def cached(self, key: ModelKey) -> str:
        """Return the hint of the last diagnosis; empty if there was none."""
        return self._hints.get(key, "")

    async def diagnose(self, version: ModelVersion) -> str:
        """Return a sentence for the client, empty if no requirement is missing or none can be read.

        Never raise: the load failure itself is what the client must see.
        """
        try:
            hint = await self._missing_requirements_hint(version)
        except Exception as error:
            if not isinstance(error, GatewayError):
                logger.error(
                    "Cannot check the requirements of %s",
                    version.key,
                    exc_info=error,
                    extra={"event": "requirements_check_failed", "model": str(version.key)},
                )
            hint = ""
        self._hints[version.key] = hint
        return hint

    async def _missing_requirements_hint(self, version: ModelVersion) -> str:
        required = await self._files.read(version, REQUIREMENTS)
        if required is None:
            return ""
        missing = await self._files.find_missing(version, required)
        return requirements.install_hint(missing, truncated=required.truncated)
