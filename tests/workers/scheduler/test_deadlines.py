"""Those who wait equally long share timers, and are told in time, once, and only while they wait."""

from __future__ import annotations

import asyncio
from typing import Any

from workers.scheduler.deadlines import Deadlines

SECONDS = 0.2
STEP = SECONDS / 40
SLACK = 0.5  # for a machine that is busy with other things


class Told:
    """Whom deadlines told, and when by the loop's clock; what is told is over, as with the pool."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.at: dict[asyncio.Future[Any], float] = {}
        self.deadlines = Deadlines(SECONDS, on_expired=self.tell)

    def tell(self, future: asyncio.Future[Any]) -> None:
        assert future not in self.at, "told twice"
        self.at[future] = self._loop.time()
        future.cancel()

    def watched(self, count: int) -> list[asyncio.Future[Any]]:
        futures = [self._loop.create_future() for _ in range(count)]
        for future in futures:
            self.deadlines.watch(future)
        return futures

    async def all(self, futures: list[asyncio.Future[Any]]) -> None:
        async with asyncio.timeout(SECONDS + SLACK):
            await asyncio.wait(futures)


class Counting(asyncio.SelectorEventLoop):
    """A loop that counts the timers which are set on it."""

    timers = 0

    def call_at(self, *args: Any, **names: Any) -> asyncio.TimerHandle:  # type: ignore[override] # any are handed on
        self.timers += 1
        return super().call_at(*args, **names)


async def test_never_too_early_and_hardly_too_late() -> None:
    """Whenever one begins to wait within a step, the whole time passes, and little more."""
    told, loop = Told(), asyncio.get_running_loop()
    began = {}
    for _ in range(30):
        (future,) = told.watched(1)
        began[future] = loop.time()
        await asyncio.sleep(STEP / 5)
    await told.all(list(began))
    assert set(told.at) == set(began)
    late = [told.at[future] - began[future] for future in began]
    assert min(late) >= SECONDS - 0.001  # the clock's own resolution
    assert max(late) < SECONDS + STEP + SLACK


async def test_all_are_told_once_in_the_order_of_their_steps() -> None:
    """Three steps' futures are all told, those of an earlier step before those of a later one."""
    told = Told()
    steps = []
    for _ in range(3):
        steps.append(told.watched(100))
        await asyncio.sleep(2 * STEP)
    await told.all([future for step in steps for future in step])
    assert len(told.at) == 300
    order = list(told.at)
    assert [set(order[at : at + 100]) for at in (0, 100, 200)] == [set(step) for step in steps]


async def test_who_has_an_answer_is_not_told() -> None:
    """Neither what was discarded nor what is done in any way expires; its neighbour does."""
    told, loop = Told(), asyncio.get_running_loop()
    answered, failed, cancelled, discarded, waits = (loop.create_future() for _ in range(5))
    for future in (answered, failed, cancelled, waits):
        told.deadlines.watch(future)
    told.deadlines.watch(discarded).discard(discarded)
    answered.set_result(None)
    failed.set_exception(ValueError())
    cancelled.cancel()
    await told.all([waits])
    assert list(told.at) == [waits]
    assert not discarded.done()
    assert isinstance(failed.exception(), ValueError)


async def test_who_is_done_by_anothers_end_is_not_told() -> None:
    """What is answered while the others of its step are told has its answer."""
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(2)]
    told = []

    def expired(future: asyncio.Future[object]) -> None:
        told.append(future)
        for one in futures:
            one.cancel()

    deadlines = Deadlines(0.01, on_expired=expired)
    for future in futures:
        deadlines.watch(future)
    await asyncio.wait(futures, timeout=SLACK)
    await asyncio.sleep(0)
    assert len(told) == 1


def test_one_timer_is_for_many() -> None:
    """Ten thousand that begin at about the same time cost a timer for each step, not for each."""

    async def watch() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Counting)
        deadlines = Deadlines(60.0, on_expired=lambda _: None)
        before, began = loop.timers, loop.time()
        futures = [loop.create_future() for _ in range(10_000)]
        for future in futures:
            deadlines.watch(future).discard(future)
        deadlines.close()
        return loop.timers - before, loop.time() - began

    with asyncio.Runner(loop_factory=Counting) as runner:
        timers, took = runner.run(watch())
    assert 1 <= timers <= 1 + took / 0.25


async def test_after_the_close_nobody_is_told() -> None:
    """What was watched waits on, through all the steps there were, and no timer is left to fail."""
    told = Told()
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    futures = told.watched(2)
    await asyncio.sleep(2 * STEP)
    futures += told.watched(2)
    told.deadlines.close()
    await asyncio.sleep(SECONDS + 3 * STEP)
    assert told.at == {}
    assert troubles == []
    assert not any(future.done() for future in futures)


async def test_it_serves_again_after_all_have_expired() -> None:
    """A step that is over takes nobody in: who comes later has a timer of their own."""
    told = Told()
    for count in (1, 2):
        await told.all(told.watched(1))
        assert len(told.at) == count
