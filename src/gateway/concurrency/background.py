"""Tasks of the gateway's own that run as long as it does, and what becomes of errors nobody expected."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import INTERNAL_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from workers.metrics import Counters

logger = logging.getLogger(__name__)

_INITIAL_BACKOFF_SECONDS: Final = 0.5
_MAX_BACKOFF_SECONDS: Final = 30.0
_BACKOFF_RESET_SECONDS: Final = 60.0  # after which an error counts as the first again


@asynccontextmanager
async def supervised_task(
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    name: str,
    counters: Counters,
    initial_backoff: float = _INITIAL_BACKOFF_SECONDS,
) -> AsyncIterator[None]:
    """`work` runs meanwhile, to its end; it is cancelled and awaited when the context is left.

    Where it raises it is logged, counted, and begun anew, after a pause that grows.
    """
    counters.increment(INTERNAL_ERRORS, name, times=0)  # so that the first one is seen as an increase
    task = asyncio.create_task(
        _restart_forever(work, name=name, counters=counters, pause=initial_backoff), name=name
    )
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _restart_forever(
    work: Callable[[], Coroutine[Any, Any, None]], *, name: str, counters: Counters, pause: float
) -> None:
    loop, first = asyncio.get_running_loop(), pause
    while True:
        began = loop.time()
        try:
            await work()
        except Exception:
            pause = first if loop.time() - began > _BACKOFF_RESET_SECONDS else pause
            logger.exception("%s: unexpected error, begun again in %g s", name, pause)
            counters.increment(INTERNAL_ERRORS, name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_BACKOFF_SECONDS)
        else:
            return


def install_exception_handler(counters: Counters) -> None:
    """Have what the running loop's callbacks and forgotten tasks raise logged as ours, and counted."""

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        about: dict[str, object] = {
            name: repr(context[name]) for name in ("future", "task", "handle") if name in context
        }
        message, error = context.get("message", "unexpected error"), context.get("exception")
        logger.error("event loop: %s", message, exc_info=error, extra=about)
        counters.increment(INTERNAL_ERRORS, "event loop")

    counters.increment(INTERNAL_ERRORS, "event loop", times=0)
    asyncio.get_running_loop().set_exception_handler(note)
