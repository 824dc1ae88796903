"""Threads that verify signatures, so that many wrong tokens at once do not stop the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.auth.errors import AuthUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_THREADS: Final = 4
_WAIT_SECONDS: Final = 1.0


class VerificationThreads:
    """A few threads. A call that none is free for waits `wait_seconds`; then it is refused."""

    def __init__(self, threads: int = _THREADS, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tokens")
        self._free = asyncio.Semaphore(threads)
        self._wait_seconds = wait_seconds

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns; raise AuthUnavailable if no thread becomes free in time."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise AuthUnavailable("Too many tokens are being verified; try again.", source="jwt") from error
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        finally:
            self._free.release()

    def close(self) -> None:
        """End the threads; each has at most one short call to finish."""
        self._pool.shutdown(cancel_futures=True)
