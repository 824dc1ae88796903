"""Notices a gateway process that is alive but hung: its event loop has stopped to turn."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import mmap
import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 1.0
HANG_SECONDS: Final = 60.0
_COUNTER_BYTES: Final = 8
_TELLING_SECONDS: Final = 5.0


class Heartbeat:
    """A counter that an event loop moves on each second; other threads and a parent process can read it.

    To be made before the fork that parts them.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _COUNTER_BYTES)

    @property
    def beats(self) -> int:
        """How often the loop has turned, about."""
        return int.from_bytes(self._shared[:], "little")

    @contextmanager
    def beating(self, every: float = HEARTBEAT_SECONDS) -> Iterator[None]:
        """The running loop moves the counter meanwhile."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def beat() -> None:
            nonlocal timer
            self._shared[:] = (self.beats + 1).to_bytes(_COUNTER_BYTES, "little")
            timer = loop.call_later(every, beat)

        beat()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()


class HeartbeatMonitor:
    """Counts the looks at a pulse since it last moved.

    Whoever looks counts its own looks, not seconds: a process that was stopped together with who
    watches it, or a machine that was suspended, is not taken for a hung one.
    """

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._last = heartbeat.beats
        self.missed = 0

    def check(self) -> int:
        """Look once more; how often in a row nothing had moved."""
        beats = self._heartbeat.beats
        self.missed = 0 if beats != self._last else self.missed + 1
        self._last = beats
        return self.missed


class Watchdog:
    """A thread that ends the process where the loop is silent for `most` of its ticks: status 1.

    It cannot where a thread holds Python's lock for ever; with several processes the supervisor does.
    Once the process is to end, `hurry` says how long that may take.
    """

    def __init__(
        self,
        pulse: Heartbeat,
        *,
        most: int = round(HANG_SECONDS),
        tick: float = HEARTBEAT_SECONDS,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._most = most
        self._status = 1
        self._ending = False
        self._silence = HeartbeatMonitor(pulse)
        self._tick = tick
        self._end = end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        self._thread.join()

    def hurry(self, *, most: int, status: int = 1) -> None:
        """The loop is about to end: in so many ticks at most from its last turn, else with this status."""
        self._most, self._status, self._ending = most, status, True

    def _watch(self) -> None:
        while not self._over.wait(self._tick):
            if self._silence.check() >= self._most:
                self._bark()
                return

    def _bark(self) -> None:
        # The loop may hang since it writes to a log that nobody reads, which would stop us too.
        last = threading.Timer(_TELLING_SECONDS, self._end, [self._status])
        last.daemon = True
        last.start()
        told = (
            "the process did not end within %g s: it ends now; the stacks follow"
            if self._ending
            else "the event loop has not turned for %g s: the process ends; the stacks follow"
        )
        logger.critical(told, self._most * self._tick)
        tell_stacks()
        last.cancel()
        self._end(self._status)


def tell_stacks() -> None:
    """Write what every thread does now to standard error, where the log goes."""
    faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
