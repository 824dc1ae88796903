"""A ring of the figures of the last 15 minutes, from the metrics of all gateway processes."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from gateway.telemetry.history.reader import StepReader
from gateway.telemetry.history.step import STEP_SECONDS, decode_steps, encode_steps
from gateway.telemetry.history.view import MINUTES, build_view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.telemetry.history.step import Step
    from gateway.telemetry.metrics.collector import SnapshotSlot
    from gateway.telemetry.metrics.snapshot import Snapshot

_MAX_STEPS: Final = MINUTES * 60 // STEP_SECONDS


class History:
    """A ring of steps of five seconds, which end at the same times in all gateway processes.

    Each process computes its steps from the metrics of all, so any of them can answer. A process that
    replaces a dead one takes over the steps that another process has stored.
    """

    def __init__(
        self,
        snapshots: Callable[[], Awaitable[Mapping[int, Snapshot]]],
        *,
        slot: SnapshotSlot,
        clock: Callable[[], float] = time,
    ) -> None:
        """`snapshots` returns the metrics of all processes; `clock` the seconds since the epoch."""
        self._snapshots = snapshots
        self._slot = slot
        self._clock = clock
        self._reader = StepReader()
        self._last_read: float | None = None
        self._steps: deque[Step] = deque(maxlen=_MAX_STEPS)
        self._view = build_view(())

    def snapshot(self) -> dict[str, Any]:
        """Return the figures as JSON-serialisable data, which callers must not change.

        docs/metrics.md describes them. They change every five seconds. Takes no time.
        """
        return self._view

    async def run(self) -> None:
        """Read a step every five seconds, at times that are multiples of that, until cancelled."""
        if not self._steps:
            await asyncio.to_thread(self._take_over)
        await self._begin()
        while True:
            await asyncio.sleep(STEP_SECONDS - self._clock() % STEP_SECONDS)
            await self.read_step()

    async def read_step(self) -> None:
        """Add the step that ends now."""
        end = round(self._clock() / STEP_SECONDS) * STEP_SECONDS
        if self._steps and end == self._steps[-1].time:
            return  # the clock was set back a little, or the timer was early
        snapshots, now = await self._snapshots(), monotonic()
        seconds = STEP_SECONDS if self._last_read is None else max(now - self._last_read, 0.1)
        self._last_read = now
        await asyncio.to_thread(self._add, snapshots, end, seconds=seconds)

    async def _begin(self) -> None:
        """Note the totals that the first step counts from."""
        if self._last_read is None:
            self._reader.read(await self._snapshots(), time=0, seconds=1.0)
            self._last_read = monotonic()

    def _add(self, snapshots: Mapping[int, Snapshot], end: int, *, seconds: float) -> None:
        step = self._reader.read(snapshots, time=end, seconds=seconds)
        while self._steps and not end - MINUTES * 60 < self._steps[-1].time < end:
            self._steps.pop()  # the clock was set back, or the steps are too old
        while self._steps and self._steps[0].time <= end - MINUTES * 60:
            self._steps.popleft()
        self._steps.append(step)
        self._view = build_view(self._steps)
        if self._slot.peers:
            self._slot.history.write(self._slot.number, encode_steps(list(self._steps)))

    def _take_over(self) -> None:
        """Begin with the newest steps that any process stored."""
        stored = (self._slot.history.read(number) for number in range(1, len(self._slot.history) + 1))
        rings = [decode_steps(content) for content, _ in filter(None, stored)]
        if newest := max(filter(None, rings), key=lambda steps: (steps[-1].time, len(steps)), default=None):
            self._steps.extend(newest)
            self._view = build_view(self._steps)
