"""Log and count what the fork server tells."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.metrics import ORPHANS_ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.metrics import Counters

logger = logging.getLogger(__name__)


class ForkServerLog:
    """A record of what a fork server tells, in whichever thread; used from one event loop."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        counters.increment(ORPHANS_ENDED, times=0)  # so that the first one shows as an increase

    def on_ready(self, failed_imports: Sequence[str]) -> None:
        """Log which modules workers cannot have from the fork server."""
        for name in failed_imports:
            extra = {"event": "preload_incomplete", "missing_module": name}
            logger.warning("Could not preload %s", name, extra=extra)

    def on_orphans_ended(self, count: int) -> None:
        """Log and count processes that models left behind."""
        extra = {"event": "orphans_ended", "processes": count}
        logger.warning("Ended %d processes that models left behind", count, extra=extra)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._count, count)

    def _count(self, count: int) -> None:
        self._counters.increment(ORPHANS_ENDED, times=count)
