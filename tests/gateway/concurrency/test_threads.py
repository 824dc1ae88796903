"""Work on files in threads: what is short, and digests, which are long."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.concurrency.threads import in_digest_thread, in_thread


class Door:
    """Calls that stay inside until it is opened; `most` is how many were there at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._came = threading.Semaphore(0)
        self._inside = 0
        self.most = 0
        self.names: list[str] = []

    def enter(self, name: str) -> str:
        """Stay inside until the door is open; for a thread."""
        with self._lock:
            self.names.append(name)
            self._inside += 1
            self.most = max(self.most, self._inside)
        self._came.release()
        self._open.wait(10)
        with self._lock:
            self._inside -= 1
        return name

    async def entered(self, count: int) -> None:
        """Wait until `count` more have come."""
        for _ in range(count):
            assert await asyncio.to_thread(self._came.acquire, timeout=10)

    def open(self) -> None:
        """Let everybody out."""
        self._open.set()


async def test_two_models_are_digested_at_once() -> None:
    """However many are asked for; all other work on files goes on meanwhile."""
    door = Door()
    digests = [asyncio.create_task(in_digest_thread(door.enter, str(number))) for number in range(20)]
    try:
        await door.entered(2)
        assert await in_thread(str.upper, "file") == "FILE"
        assert len(door.names) == 2
    finally:
        door.open()
    assert await asyncio.gather(*digests) == [str(number) for number in range(20)]
    assert door.most == 2


async def test_a_cancelled_caller_waits_for_no_turn() -> None:
    """Who is in a thread is waited for; who is not never gets there, so that an end is not held up."""
    door = Door()
    digests = [asyncio.create_task(in_digest_thread(door.enter, str(number))) for number in range(3)]
    await door.entered(2)
    for task in digests:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await digests[2]
    assert not digests[0].done()
    door.open()
    await asyncio.wait(digests)
    assert all(task.cancelled() for task in digests)
    assert sorted(door.names) == ["0", "1"]


async def test_what_is_raised_in_the_thread_is_raised() -> None:
    """The error itself."""
    with pytest.raises(ZeroDivisionError):
        await in_digest_thread(divmod, 1, 0)
