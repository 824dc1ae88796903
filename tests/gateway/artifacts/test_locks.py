"""Proves that a process that holds a lock of the cache for ever cannot make a request wait for ever."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.artifacts.locks import FileLock, hold_lock, signs_of_life
from gateway.errors import CacheUnusable
from tests.gateway.artifacts.conftest import key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.gateway.artifacts.conftest import CacheHarness

HOLD = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
SHORT = 0.2


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Hold the lock at `path` in another process, whose id is yielded."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


@pytest.mark.parametrize("lock", ["cache.lock", "locks/{}.lease", "locks/{}.fetch"])
async def test_every_lock_of_a_first_request_has_a_limit(
    harness: CacheHarness, lock: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The request fails with a reason, and the log names the lock and its process; later it succeeds."""
    harness.server.add_model("wine")
    cache = await harness.open_cache(lock_seconds=SHORT)
    name = cache._directory.paths(key("wine")).folder.name
    path = harness.folder / "v1" / lock.format(name)
    with held(path) as pid:
        with pytest.raises(CacheUnusable, match="Another process has held a lock") as caught:
            await harness.fetch(cache, "wine")
        assert str(harness.folder) not in str(caught.value)
        assert f"held the lock {path}" in caplog.text
        (record,) = [record for record in caplog.records if vars(record).get("event") == "cache_locked"]
        assert vars(record)["pids"] == [str(pid)]
    assert (await harness.fetch(cache, "wine") / "MLmodel").is_file()


async def test_cached_models_are_served_while_the_folder_is_locked(
    harness: CacheHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """Also by a gateway that starts then, which says so."""
    harness.server.add_model("wine")
    await harness.fetch(await harness.open_cache(), "wine")
    with held(harness.folder / "v1" / "cache.lock"):
        cache = await harness.open_cache(lock_seconds=SHORT)
        assert "The artifact cache is locked" in caplog.text
        assert (await harness.fetch(cache, "wine") / "MLmodel").is_file()


async def test_a_long_download_of_another_process_is_waited_for(tmp_path: Path) -> None:
    """The holder gives signs of life for longer than the limit, and then the lock is acquired."""
    path = tmp_path / "lock"
    other = FileLock(path)
    assert other.try_acquire()
    async with signs_of_life(path, interval=0.02):
        waiting = asyncio.create_task(acquire(path, longest=60.0))
        await asyncio.sleep(5 * SHORT)  # the proof is that nothing happens meanwhile
        assert not waiting.done()
    other.release()
    await waiting


async def test_signs_of_life_do_not_count_for_ever(tmp_path: Path) -> None:
    """A hostile process can give them too."""
    path = tmp_path / "lock"
    other = FileLock(path)
    assert other.try_acquire()
    async with signs_of_life(path, interval=0.02):
        with pytest.raises(CacheUnusable):
            await acquire(path, longest=2 * SHORT)
    other.release()


async def acquire(path: Path, *, longest: float) -> None:
    """Acquire and release the lock."""
    async with hold_lock(path, limit=SHORT, longest=longest):
        pass
