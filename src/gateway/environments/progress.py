"""The progress of one build, for the log and for clients."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

logger = logging.getLogger(__name__)
_LOG_SECONDS: Final = 5.0


class BuildProgress:
    """A counter of packages for the build of one version's environment; `total` is 0 until they are known."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.total = 0
        self.done = 0
        self.started = self._logged = monotonic()

    @property
    def text(self) -> str:
        """The progress in words: "31 of 58 packages"."""
        return f"{self.done} of {self.total} packages" if self.total else "resolving its requirements"

    def begin(self, total: int) -> None:
        """Note how many packages there are, and log it."""
        self.total = total
        logger.info(
            "Building the environment of %s: %d packages",
            self.model,
            total,
            extra={"event": "environment_build_started", "model": self.model, "packages": total},
        )

    def reach(self, done: int) -> None:
        """Note that this many packages are at hand; log that every few seconds."""
        self.done = max(self.done, min(done, self.total))
        now = monotonic()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            logger.info(
                "Building the environment of %s: %s",
                self.model,
                self.text,
                extra={"event": "environment_build_progress", "model": self.model, "packages": self.done},
            )
