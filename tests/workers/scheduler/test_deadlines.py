"""The timer wheel: futures expire in time, once, and only while they are not done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.workers.stateful.virtual_time import VirtualTimeLoop
from workers.scheduler.deadlines import Deadlines

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

SECONDS = 0.2
STEP = SECONDS / 40
ROUNDING = 1e-6


@pytest.fixture
def loop() -> Iterator[VirtualTimeLoop]:
    loop = VirtualTimeLoop()
    yield loop
    loop.cancel_all()
    loop.close()


def create_deadlines(
    loop: VirtualTimeLoop, on_expired: Callable[[asyncio.Future[Any]], None], *, seconds: float = SECONDS
) -> Deadlines:
    async def create() -> Deadlines:
        return Deadlines(seconds, on_expired=on_expired)

    return loop.run(create())


class Expirations:
    """A timer wheel, and the time at which each future expired; a future is done then."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self.times: dict[asyncio.Future[Any], float] = {}
        self.deadlines = create_deadlines(loop, self._record)

    def _record(self, future: asyncio.Future[Any]) -> None:
        assert future not in self.times, "expired twice"
        self.times[future] = self._loop.time()
        future.cancel()

    def watch(self, count: int) -> list[asyncio.Future[Any]]:
        futures = [self._loop.create_future() for _ in range(count)]
        for future in futures:
            self.deadlines.watch(future)
        return futures


def test_a_future_expires_never_early_and_at_most_one_step_late(loop: VirtualTimeLoop) -> None:
    """That holds wherever in a step the future was added."""
    expirations = Expirations(loop)
    added_at = {}
    for _ in range(30):
        (future,) = expirations.watch(1)
        added_at[future] = loop.time()
        loop.advance(STEP / 5)
    loop.advance(SECONDS + STEP)
    waits = [expirations.times[future] - added_at[future] for future in added_at]
    assert min(waits) >= SECONDS - ROUNDING
    assert max(waits) <= SECONDS + STEP + ROUNDING


def test_all_expire_once_in_the_order_of_their_steps(loop: VirtualTimeLoop) -> None:
    """The futures of three steps all expire, those of an earlier step first."""
    expirations = Expirations(loop)
    steps = []
    for _ in range(3):
        steps.append(expirations.watch(100))
        loop.advance(2 * STEP)
    loop.advance(SECONDS + STEP)
    assert len(expirations.times) == 300
    order = list(expirations.times)
    assert [set(order[start : start + 100]) for start in (0, 100, 200)] == [set(step) for step in steps]


def test_a_future_that_is_done_does_not_expire(loop: VirtualTimeLoop) -> None:
    """Nor does one that was discarded; one beside them does."""
    expirations = Expirations(loop)
    resolved, failed, cancelled, discarded, pending = (loop.create_future() for _ in range(5))
    for future in (resolved, failed, cancelled, pending):
        expirations.deadlines.watch(future)
    expirations.deadlines.watch(discarded).discard(discarded)
    resolved.set_result(None)
    failed.set_exception(ValueError())
    cancelled.cancel()
    loop.advance(SECONDS + STEP)
    assert list(expirations.times) == [pending]
    assert not discarded.done()
    assert isinstance(failed.exception(), ValueError)


def test_a_future_that_anothers_expiry_resolves_does_not_expire(loop: VirtualTimeLoop) -> None:
    """The callback for one future of a step may resolve the others."""
    futures = [loop.create_future() for _ in range(2)]
    expired = []

    def cancel_all(future: asyncio.Future[object]) -> None:
        expired.append(future)
        for each in futures:
            each.cancel()

    deadlines = create_deadlines(loop, cancel_all)
    for future in futures:
        deadlines.watch(future)
    loop.advance(SECONDS + STEP)
    assert len(expired) == 1


def test_futures_of_one_step_share_a_timer(loop: VirtualTimeLoop) -> None:
    """Ten thousand that are added at the same time cost one timer, also if they are discarded at once."""
    deadlines = create_deadlines(loop, lambda _: None, seconds=60.0)
    for future in [loop.create_future() for _ in range(10_000)]:
        deadlines.watch(future).discard(future)
    assert len(loop.timers()) == 1
    deadlines.close()
    assert not loop.timers()


def test_nothing_expires_after_the_close(loop: VirtualTimeLoop) -> None:
    """What was watched stays pending through all steps, and no timer is left to fail."""
    expirations = Expirations(loop)
    futures = expirations.watch(2)
    loop.advance(2 * STEP)
    futures += expirations.watch(2)
    expirations.deadlines.close()
    loop.advance(SECONDS + 3 * STEP)
    assert expirations.times == {}
    assert loop.errors == []
    assert not any(future.done() for future in futures)


def test_it_serves_again_after_all_have_expired(loop: VirtualTimeLoop) -> None:
    """A future that is added after the end of a step has a timer of its own."""
    expirations = Expirations(loop)
    for count in (1, 2):
        expirations.watch(1)
        loop.advance(SECONDS + STEP)
        assert len(expirations.times) == count
