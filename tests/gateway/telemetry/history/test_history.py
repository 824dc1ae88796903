"""Proves that every process has the same history, and that it survives the death of one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.telemetry.history import History
from gateway.telemetry.metrics.collector import SnapshotSlot
from gateway.telemetry.metrics.shared import SharedSnapshots
from tests.gateway.telemetry.history.snapshots import process
from tests.support.waiting import until

if TYPE_CHECKING:
    from gateway.telemetry.metrics.snapshot import Snapshot

NOW = 1_000_000.0


class Gateway:
    """Gateway processes that count together, and a clock."""

    def __init__(self, processes: int) -> None:
        self.now = NOW
        self.ok = 0
        self._metrics = SharedSnapshots(processes)
        self._history = SharedSnapshots(processes)

    def history(self, number: int) -> History:
        """Return the history of one process."""
        slot = SnapshotSlot(self._metrics, number, history=self._history)
        return History(self.snapshots, slot=slot, clock=lambda: self.now)

    async def snapshots(self) -> dict[int, Snapshot]:
        """Return the metrics of all processes."""
        return {1: process(ok=self.ok), 2: process(ok=2 * self.ok, waiting=1)}


async def begin(history: History) -> None:
    """Run a history until it has read its first totals, then stop it: the test reads the steps."""
    task = asyncio.create_task(history.run())
    await until(lambda: history._last_read is not None)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def steps(gateway: Gateway, *histories: History, count: int) -> None:
    for _ in range(count):
        gateway.now += 5.0
        gateway.ok += 1
        for history in histories:
            await history.read_step()


async def test_any_process_answers_for_all() -> None:
    """Two processes have equal figures, which are sums over both."""
    gateway = Gateway(2)
    one, two = gateway.history(1), gateway.history(2)
    await begin(one)
    await begin(two)
    await steps(gateway, one, two, count=3)
    views = [history.snapshot() for history in (one, two)]
    assert views[0]["times"] == views[1]["times"] == [NOW + 5, NOW + 10, NOW + 15]
    assert views[0]["waiting"] == views[1]["waiting"] == [1, 1, 1]
    for history in (one, two):
        assert [sum(step.requests.values()) for step in history._steps] == [3, 3, 3]
    assert views[0]["models"]["a"]["requests_by_minute"] == views[1]["models"]["a"]["requests_by_minute"]


async def test_a_replacement_takes_over() -> None:
    """It has the steps from before its start, and goes on with them."""
    gateway = Gateway(2)
    one, two = gateway.history(1), gateway.history(2)
    await begin(one)
    await begin(two)
    await steps(gateway, one, two, count=4)
    replacement = gateway.history(2)
    await begin(replacement)
    assert replacement.snapshot() == one.snapshot()
    await steps(gateway, one, replacement, count=1)
    assert replacement.snapshot()["times"] == one.snapshot()["times"]
    assert len(replacement.snapshot()["times"]) == 5


async def test_the_ring_has_fifteen_minutes() -> None:
    """Older steps go, also if the process slept meanwhile."""
    gateway = Gateway(1)
    history = gateway.history(1)
    await begin(history)
    await steps(gateway, history, count=200)
    times = history.snapshot()["times"]
    assert (len(times), times[-1] - times[0]) == (180, 895)
    gateway.now += 600
    await steps(gateway, history, count=1)
    assert len(history.snapshot()["times"]) == 60
    gateway.now += 3600
    await steps(gateway, history, count=1)
    assert history.snapshot()["times"] == [round(gateway.now)]


async def test_a_clock_that_is_set_back() -> None:
    """Times always grow: the steps that are in the future now are dropped, and no step is there twice."""
    gateway = Gateway(1)
    history = gateway.history(1)
    await begin(history)
    await steps(gateway, history, count=10)
    await history.read_step()
    assert len(history.snapshot()["times"]) == 10
    gateway.now -= 27
    await history.read_step()
    times = history.snapshot()["times"]
    assert times == sorted(set(times))
    assert times[-1] == NOW + 25
