"""Answers older than their time: told in the log once for as long as they go on, not per request."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from gateway.domain.refs import format_ref

if TYPE_CHECKING:
    from gateway.domain.refs import ModelRef

logger = logging.getLogger(__name__)


class StaleLog:
    """A spell of old answers: begun by the first, over when none was given for `quiet` seconds."""

    def __init__(self, *, quiet: float = 30.0) -> None:
        self._quiet = quiet
        self._count = 0
        self._first = self._last = 0.0

    def record_stale(self, ref: ModelRef, age: float) -> None:
        """An answer that is `age` seconds old was given, since MLflow could not be asked in time."""
        self._last = monotonic()
        self._count += 1
        if self._count == 1:
            self._first = self._last
            logger.warning(
                "MLflow does not answer now: requests get what it said before (the first: %s, %.0f s old)",
                format_ref(ref),
                age,
            )

    def record_fresh(self) -> None:
        """MLflow answered."""
        if self._count and monotonic() - self._last >= self._quiet:
            logger.info(
                "what MLflow says is fresh again: %d requests in %.0f s got older answers",
                self._count,
                self._last - self._first,
            )
            self._count = 0
