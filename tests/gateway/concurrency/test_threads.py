"""Proves how short file operations and long digests run in threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.concurrency.threads import in_digest_thread, in_thread

PATIENCE_SECONDS = 60.0


class Barrier:
    """Calls that block until it is opened; `most` is how many were blocked at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._entered = threading.Semaphore(0)
        self._blocked = 0
        self.most = 0
        self.names: list[str] = []

    def block(self, name: str) -> str:
        """Block the calling thread until the barrier is open."""
        with self._lock:
            self.names.append(name)
            self._blocked += 1
            self.most = max(self.most, self._blocked)
        self._entered.release()
        self._open.wait(PATIENCE_SECONDS)
        with self._lock:
            self._blocked -= 1
        return name

    async def wait_blocked(self, count: int) -> None:
        """Wait until `count` more calls are blocked."""
        for _ in range(count):
            assert await asyncio.to_thread(self._entered.acquire, timeout=PATIENCE_SECONDS)

    def open(self) -> None:
        """Let all calls return."""
        self._open.set()


async def test_two_models_are_digested_at_once() -> None:
    """Of twenty digests two run at a time; other file operations continue meanwhile."""
    barrier = Barrier()
    digests = [asyncio.create_task(in_digest_thread(barrier.block, str(number))) for number in range(20)]
    try:
        await barrier.wait_blocked(2)
        assert await in_thread(str.upper, "file") == "FILE"
        assert len(barrier.names) == 2
    finally:
        barrier.open()
    assert await asyncio.gather(*digests) == [str(number) for number in range(20)]
    assert barrier.most == 2


async def test_a_cancelled_digest_that_has_not_started_never_runs() -> None:
    """Its caller does not wait, so that a shutdown is quick. A caller whose digest runs does wait for it."""
    barrier = Barrier()
    digests = [asyncio.create_task(in_digest_thread(barrier.block, str(number))) for number in range(3)]
    await barrier.wait_blocked(2)
    for task in digests:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await digests[2]
    assert not digests[0].done()
    barrier.open()
    await asyncio.wait(digests)
    assert all(task.cancelled() for task in digests)
    assert sorted(barrier.names) == ["0", "1"]


async def test_an_error_in_the_thread_reaches_the_caller() -> None:
    """It is raised unchanged."""
    with pytest.raises(ZeroDivisionError):
        await in_digest_thread(divmod, 1, 0)
