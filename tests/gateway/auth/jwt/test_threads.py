"""Proves that only a few tokens are verified at once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.auth.errors import AuthUnavailable
from gateway.auth.jwt.threads import VerificationThreads
from tests.support.waiting import until


async def test_a_call_waits_for_a_thread_and_is_refused_then() -> None:
    """While all threads are busy; the loop goes on, and afterwards calls run again."""
    threads, go, running = VerificationThreads(2, wait_seconds=0.05), threading.Event(), []

    def work() -> int:
        running.append(1)
        go.wait()
        return 5

    busy = [asyncio.create_task(threads.run(work)) for _ in range(2)]
    await until(lambda: len(running) == 2)
    with pytest.raises(AuthUnavailable, match="Too many tokens"):
        await threads.run(work)
    go.set()
    assert await asyncio.gather(*busy) == [5, 5]
    assert await threads.run(lambda: 6) == 6
    threads.close()


async def test_more_calls_than_threads_all_run() -> None:
    """If each is short."""
    threads = VerificationThreads(2, wait_seconds=60)
    assert await asyncio.gather(*(threads.run(lambda n=n: n) for n in range(100))) == list(range(100))  # type: ignore[misc]
    threads.close()
