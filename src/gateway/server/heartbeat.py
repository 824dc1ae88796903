"""Show a supervisor whether the event loop of a gateway process still runs."""

from __future__ import annotations

import asyncio
import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_INTERVAL_SECONDS: Final = 1.0
_COUNTER_BYTES: Final = 8


class Heartbeat:
    """A counter in shared memory that an event loop increments once a second.

    Create it before the fork, so that parent and child share it.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _COUNTER_BYTES)

    @property
    def count(self) -> int:
        """The number of beats since the start."""
        return int.from_bytes(self._shared[:], "little")

    @contextmanager
    def beating(
        self, *, on_beat: Callable[[], object] | None = None, interval: float = _INTERVAL_SECONDS
    ) -> Iterator[None]:
        """Beat in the running event loop every `interval` seconds, and call `on_beat` each time."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def beat() -> None:
            nonlocal timer
            self._shared[:] = (self.count + 1).to_bytes(_COUNTER_BYTES, "little")
            if on_beat is not None:
                on_beat()
            timer = loop.call_later(interval, beat)

        beat()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()


class HeartbeatMonitor:
    """A counter of consecutive checks without a new beat.

    It counts checks and not seconds. So a process that was stopped together with its supervisor, or a machine
    that was suspended, does not count as hung.
    """

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._last = heartbeat.count
        self._missed = 0

    def check(self) -> int:
        """Compare the heartbeat with the last check and return how many checks in a row saw no beat."""
        count = self._heartbeat.count
        self._missed = 0 if count != self._last else self._missed + 1
        self._last = count
        return self._missed
