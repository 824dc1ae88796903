"""Run file operations in threads, and do not let a cancelled caller leave one behind."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")

# Not the event loop's default threads: a disk that hangs must not block what requests need those for.
_FILE_THREADS: Final = ThreadPoolExecutor(8, thread_name_prefix="files")
# A digest reads all files of a model, which takes minutes for a large one. More at once would leave no thread
# for short file operations, and no core for requests.
_DIGEST_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="digests")


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call` in a thread and return its result.

    Unlike after `asyncio.to_thread`, a cancelled caller continues only when the thread has finished: the
    caller's cleanup may close the file or remove its folder.
    """
    return await _wait_uncancellable(_submit(_FILE_THREADS, partial(call, *args, **kwargs)))


async def in_digest_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call`, which digests a whole model, in one of two threads, and return its result.

    A caller that is cancelled before its call has started does not wait: the call never runs.
    """
    return await _wait_uncancellable(
        _submit(_DIGEST_THREADS, partial(call, *args, **kwargs)), cancel_queued=True
    )


def _submit(threads: ThreadPoolExecutor, call: Callable[[], T]) -> Future[T]:
    return threads.submit(contextvars.copy_context().run, call)


async def _wait_uncancellable(work: Future[T], *, cancel_queued: bool = False) -> T:
    # A future of the executor, not a task: the end of the loop could cancel a task.
    future = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if cancel_queued:
            work.cancel()  # has no effect on a call that has started
        while not future.done():
            # The error is raised again below, so that a second cancellation is not lost either.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # marks it as retrieved
        raise
