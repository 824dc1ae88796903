"""File locks, between processes as well as within one."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.concurrency.threads import in_thread
from gateway.errors import CacheUnusable
from workers.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

LOCK_SECONDS: Final = 60.0
_SIGN_SECONDS: Final = 5.0
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
async def hold_lock(
    path: Path,
    *,
    shared: bool = False,
    remove: bool = False,
    limit: float = LOCK_SECONDS,
    longest: float | None = None,
) -> AsyncIterator[None]:
    """Wait for the lock at `path` and hold it during the block; `remove` deletes its file afterwards.

    Raise CacheUnusable if another process holds it for `limit` seconds. With `longest`, that time starts
    again with each of its signs of life (`signs_of_life`), but ends after `longest` seconds.
    """
    lock = FileLock(path, shared=shared)
    try:
        await _acquire(lock, path, limit=limit, longest=longest or limit)
        yield
    finally:
        await in_thread(lock.release, remove=remove)


async def _acquire(lock: FileLock, path: Path, *, limit: float, longest: float) -> None:
    backoff = Backoff(_MIN_POLL_SECONDS, _MAX_POLL_SECONDS)
    started = since = monotonic()
    seen: tuple[int, int] | None = None
    # Polls, because flock has no event: a blocking flock would occupy a thread of the executor for
    # as long as another process downloads, and could not be cancelled.
    while not await in_thread(lock.try_acquire):
        sign = await in_thread(_last_sign, path)
        now = monotonic()
        if sign != seen:
            seen, since = sign, now
        if now - since >= limit or now - started >= longest:
            raise await in_thread(_locked_error, path, now - started)
        await asyncio.sleep(backoff.next_delay())


@asynccontextmanager
async def signs_of_life(path: Path, *, interval: float = _SIGN_SECONDS) -> AsyncIterator[None]:
    """During the block, show those who wait for the lock at `path` that its holder is at work."""

    async def give() -> None:
        while True:
            await asyncio.sleep(interval)
            with suppress(OSError):
                await in_thread(os.utime, path, follow_symlinks=False)

    task = asyncio.create_task(give(), name=f"signs of life {path.name}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _last_sign(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _locked_error(path: Path, seconds: float) -> CacheUnusable:
    holders = _find_holders(path)
    logger.error(
        "Another process has held the lock %s for %.0f s: %s",
        path,
        seconds,
        ", ".join(holders) or "one that this machine does not know",
        extra={"event": "cache_locked", "lock": str(path), "pids": holders, "seconds": round(seconds)},
    )
    return CacheUnusable(
        f"Another process has held a lock of the artifact cache for {seconds:.0f} s; the log names it."
    )


def _find_holders(path: Path) -> list[str]:
    """Return the ids of the processes that locked `path`, on Linux; children may hold the lock after them."""
    try:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    # For example: 1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF
    rows = [line.split() for line in lines]
    return [row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5].endswith(f":{inode}")]
