"""Background tasks that run as long as the gateway, and the handling of errors that nothing catches."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import INTERNAL_ERRORS
from workers.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from workers.metrics import Counters

logger = logging.getLogger(__name__)

_INITIAL_DELAY_SECONDS: Final = 0.5
_MAX_DELAY_SECONDS: Final = 30.0
_STABLE_SECONDS: Final = 60.0  # after a run so long, the delay starts again at the initial one


@asynccontextmanager
async def supervised_task(
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    name: str,
    counters: Counters,
    initial_delay: float = _INITIAL_DELAY_SECONDS,
) -> AsyncIterator[None]:
    """Run `work` in a task until it returns, or until the context ends, which cancels it and waits for it.

    If `work` raises, log and count the error, and start it again after a growing delay.
    """
    counters.increment(INTERNAL_ERRORS, name, times=0)  # a series that starts at 1 shows no increase
    backoff = Backoff(initial_delay, _MAX_DELAY_SECONDS)
    task = asyncio.create_task(
        _restart_forever(work, name=name, counters=counters, backoff=backoff), name=name
    )
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _restart_forever(
    work: Callable[[], Coroutine[Any, Any, None]], *, name: str, counters: Counters, backoff: Backoff
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            return await work()
        except Exception:
            if loop.time() - started > _STABLE_SECONDS:
                backoff.reset()
            delay = backoff.next_delay()
            extra = {"event": "background_task_failed", "task": name, "delay_seconds": delay}
            logger.exception("Unexpected error in task %r; restarting it in %g s", name, delay, extra=extra)
            counters.increment(INTERNAL_ERRORS, name)
        await asyncio.sleep(delay)


def install_exception_handler(counters: Counters) -> None:
    """Log and count what the running loop's callbacks raise, and tasks whose errors nothing retrieves."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        extra: dict[str, object] = {
            name: repr(context[name]) for name in ("future", "task", "handle") if name in context
        }
        logger.error(
            "Unexpected error in the event loop: %s",
            context.get("message", "no message"),
            exc_info=context.get("exception"),
            extra=extra | {"event": "event_loop_error"},
        )
        counters.increment(INTERNAL_ERRORS, "event loop")

    counters.increment(INTERNAL_ERRORS, "event loop", times=0)
    asyncio.get_running_loop().set_exception_handler(handle)
