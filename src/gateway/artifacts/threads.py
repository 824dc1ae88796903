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

P = ParamSpec("P")
T = TypeVar("T")

# Of their own: a disk that hangs must not hold up what the loop's own threads do for requests.
_THREADS: Final = ThreadPoolExecutor(8, thread_name_prefix="files")


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `call`, run in a thread.

    Other than with `asyncio.to_thread`, a cancelled caller goes on only when the thread is done
    with the file: what follows may close the file or remove its folder.
    """
    context = contextvars.copy_context()
    # A future of the executor, not a task: a task could itself be cancelled when the loop ends.
    work = asyncio.get_running_loop().run_in_executor(_THREADS, partial(context.run, call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            # Raised again below, so a second cancellation is not lost either.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()
        raise
