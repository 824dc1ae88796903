"""File work in threads, ended by the time its caller goes on, even a cancelled one."""

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

# Of their own: a disk that hangs must not hold up what the loop's own threads do for requests.
_FILE_THREADS: Final = ThreadPoolExecutor(8, thread_name_prefix="files")
# A digest reads a model whole, for minutes where it is large: many at once would leave no thread for the
# short work on files, and no core for the requests.
_DIGEST_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="digests")


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `call`, run in a thread.

    Other than with `asyncio.to_thread`, a cancelled caller goes on only when the thread is done
    with the file: what follows may close the file or remove its folder.
    """
    return await _wait_uncancellable(_submit(_FILE_THREADS, partial(call, *args, **kwargs)))


async def in_digest_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As `in_thread`, for what digests whole models: of these there are two at once in the process.

    A caller that is cancelled before its turn does not wait for it: `call` is then never run.
    """
    return await _wait_uncancellable(
        _submit(_DIGEST_THREADS, partial(call, *args, **kwargs)), waits_its_turn=False
    )


def _submit(threads: ThreadPoolExecutor, call: Callable[[], T]) -> Future[T]:
    return threads.submit(contextvars.copy_context().run, call)


async def _wait_uncancellable(work: Future[T], *, waits_its_turn: bool = True) -> T:
    # A future of the executor, not a task: a task could itself be cancelled when the loop ends.
    waiting = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if not waits_its_turn:
            work.cancel()  # does nothing once the thread has begun
        while not waiting.done():
            # Raised again below, so a second cancellation is not lost either.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([waiting])
        if not waiting.cancelled():
            waiting.exception()
        raise
