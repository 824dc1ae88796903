"""Locks on files, between processes as well as within one."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.concurrency.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_MIN_POLL_SECONDS = 0.01
_MAX_POLL_SECONDS = 0.25


class FileLock:
    """An flock on a file of its own, which ends with this process whatever happens to it."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path = path
        self._kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._file: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if that is possible now."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, self._kind | fcntl.LOCK_NB)
            if _is_same_file(file, self._path):
                self._file = file
        except BlockingIOError:
            return False
        finally:
            if self._file is None:
                os.close(file)
        return self._file is not None

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back where it is held; `remove` takes the file away with it."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if remove:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(file)


def _is_same_file(file: int, path: Path) -> bool:
    # The last holder may have removed the file between our opening and our locking it.
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@asynccontextmanager
async def hold_lock(path: Path, *, shared: bool = False, remove: bool = False) -> AsyncIterator[None]:
    """Hold the lock at `path`, waiting for it; `remove` takes its file away afterwards."""
    lock = FileLock(path, shared=shared)
    pause = _MIN_POLL_SECONDS
    try:
        # Polling, since flock knows no event to wait for: a blocking flock would sit in a thread
        # of the shared executor for as long as another process downloads, and could not be cancelled.
        while not await in_thread(lock.try_acquire):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_POLL_SECONDS)
        yield
    finally:
        await in_thread(lock.release, remove=remove)
