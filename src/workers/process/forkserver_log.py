"""Log and count what the fork server tells."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from workers.metrics import ORPHANS_ENDED
from workers.process.output import OutputLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.metrics import Counters
    from workers.worker_environment import WorkerEnvironment

logger = logging.getLogger(__name__)

_SHOWN_CHARACTERS: Final = 12  # of a digest


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


class EnvironmentLog(ForkServerLog):
    """The same of the fork server of an environment, with what its packages write."""

    def __init__(self, environment: WorkerEnvironment, counters: Counters) -> None:
        super().__init__(counters)
        self._digest = environment.digest
        self._outputs: list[OutputLog] = []
        self._closed = False

    def on_ready(self, failed_imports: Sequence[str]) -> None:
        """Log that models can be loaded; what cannot be imported is an error only if a model needs it."""
        extra = {"event": "environment_ready", "environment": self._digest}
        logger.info("Python environment %s is ready", self._digest[:_SHOWN_CHARACTERS], extra=extra)

    def on_output(self, descriptor: int) -> None:
        """Log what comes from a pipe, which belongs to this object from now on."""
        try:
            self._loop.call_soon_threadsafe(self._read, descriptor)
        except RuntimeError:  # the loop is closed
            os.close(descriptor)

    def close(self) -> None:
        """Log what is left, and close the pipes."""
        self._closed = True
        for output in self._outputs:
            output.close()
        self._outputs.clear()

    def _read(self, descriptor: int) -> None:
        if self._closed:
            os.close(descriptor)
            return
        fields = {"event": "environment_output", "environment": self._digest}
        self._outputs.append(OutputLog(descriptor, fields))
