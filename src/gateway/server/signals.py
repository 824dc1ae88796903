"""The signals that a gateway process and its supervisor handle."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
HANDLED_SIGNALS: Final = (*STOP_SIGNALS, signal.SIGHUP)


class SignalEvents:
    """The signals of the running event loop as events.

    The first SIGTERM or SIGINT sets `stop`, the second sets `force`. Each SIGHUP sets `reload` if
    `handle_sighup`, also one that was blocked until now. `graceful` is False if the first signal was SIGINT:
    a person at a terminal waits.
    """

    def __init__(self, *, handle_sighup: bool) -> None:
        self.stop, self.force, self.reload = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.graceful = True
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_stop_signal, number)
        if handle_sighup:
            loop.add_signal_handler(signal.SIGHUP, self.reload.set)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])

    def _on_stop_signal(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            self.force.set()
        else:
            self.graceful = number != signal.SIGINT
            self.stop.set()


class SignalInbox:
    """The signals that a supervisor got, read from the descriptor `pipe`, one byte each."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self.stop_signals: list[signal.Signals] = []
        self._reload_requested = False

    def read(self) -> None:
        """Take in the signals that have come."""
        with suppress(BlockingIOError):
            for number in os.read(self.pipe, 64):
                if number == signal.SIGHUP:
                    self._reload_requested = True
                else:
                    self.stop_signals.append(signal.Signals(number))

    def take_reload_request(self) -> bool:
        """Return whether SIGHUP came since the last call."""
        requested, self._reload_requested = self._reload_requested, False
        return requested


@contextmanager
def signal_pipe(numbers: Sequence[signal.Signals]) -> Iterator[int]:
    """Yield a descriptor, not blocking, from which the number of each received signal is read as a byte."""
    read_end, write_end = os.pipe()
    for end in (read_end, write_end):
        os.set_blocking(end, False)
    previous = {number: signal.signal(number, _noop_handler) for number in numbers}
    signal.set_wakeup_fd(write_end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(read_end)
        os.close(write_end)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the handled signals: a process forked meanwhile would handle them as its parent does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)


def _noop_handler(*_: object) -> None:
    """Do nothing: the signal's number arrives through the pipe."""
