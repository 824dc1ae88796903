"""File locks, between processes as well as within one."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.concurrency.threads import in_thread
from workers.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_MIN_POLL_SECONDS = 0.01
_MAX_POLL_SECONDS = 0.25


class FileLock:
    """A flock on a file of its own, which the kernel releases when the process ends."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path = path
        self._kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._file: int | None = None

    def try_acquire(self) -> bool:
        """Acquire the lock without waiting; return whether that succeeded."""
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
        """Release the lock if it is held; `remove` also deletes its file."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if remove:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(file)


def _is_same_file(file: int, path: Path) -> bool:
    # Another process may have deleted the file after this one opened it and before it locked it.
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@asynccontextmanager
async def hold_lock(path: Path, *, shared: bool = False, remove: bool = False) -> AsyncIterator[None]:
    """Wait for the lock at `path` and hold it during the block; `remove` deletes its file afterwards."""
    lock = FileLock(path, shared=shared)
    backoff = Backoff(_MIN_POLL_SECONDS, _MAX_POLL_SECONDS)
    try:
        # Polls, because flock has no event: a blocking flock would occupy a thread of the executor for
        # as long as another process downloads, and could not be cancelled.
        while not await in_thread(lock.try_acquire):  # noqa: ASYNC110 - see above
            await asyncio.sleep(backoff.next_delay())
        yield
    finally:
        await in_thread(lock.release, remove=remove)
