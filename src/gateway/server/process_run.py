"""The surroundings of the event loop of a process that serves, from its first to its last moment."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import logging
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from gateway.server.watchdog import Watchdog
from gateway.system import descriptors, environment, tempdir
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.settings import Settings

logger = logging.getLogger(__name__)

_EXIT_MISCONFIGURED: Final = 2


def run_in_loop(
    settings: Settings,
    main: Callable[[Watchdog], Coroutine[Any, Any, int]],
    *,
    number: int | None,
    hang_seconds: float,
) -> int:
    """Run `main` in an event loop, and return the exit status that it returns.

    `number` is that of the process among several. The process has a private folder for temporary files; if
    none can be created it does not start (status 2). It ends by itself if the loop does not run for
    `hang_seconds`, unless `main` moves the watchdog's deadline before.
    """
    logs.configure(settings.log_level, settings.log_format, process=number)
    faulthandler.enable()  # a crash, or SIGABRT from a supervisor, writes the stacks of all threads
    descriptors.raise_fd_limit()
    environment.disable_process_inspection()
    loop_factory = importlib.import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with ExitStack() as stack:
        try:
            stack.enter_context(tempdir.private_tempdir())
        except OSError as error:
            logger.error(
                "Cannot start: no folder for temporary files can be created: %s",
                error,
                extra={"event": "start_failed"},
            )
            return _EXIT_MISCONFIGURED
        watchdog = Watchdog()
        watchdog.set_deadline(hang_seconds)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            status = runner.run(_run(main, watchdog))
        watchdog.stop()
        return status


async def _run(main: Callable[[Watchdog], Coroutine[Any, Any, int]], watchdog: Watchdog) -> int:
    """Call `main` in the loop, which parts of the process look for when they are made."""
    return await main(watchdog)
