"""Serves in as many processes as the settings say: starts them, replaces the dead, ends all in order."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final

from gateway import app, environment, listeners, logs
from gateway.metrics.slates import Slates
from gateway.replica import SIGNALS, Replica

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from gateway.settings import Settings

_log = logging.getLogger(__name__)

_SHORT_LIFE_SECONDS: Final = 30.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 15.0
_GRACE_SECONDS: Final = 10.0  # for what a process does after its drain
_FOR_GOOD: Final = (1, 2)  # cannot listen; wrong settings, or a cache that cannot be used


def run(settings: Settings, *, announce: Callable[[str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, in this process where one is enough; the exit status.

    `announce` is told the address once every process listens. The first signal lets the requests in
    flight be answered (status 0 where every process ended with that), a second one ends them at once
    (status 1). A process that ends is replaced; where none can serve, all end with its status.
    """
    if settings.processes == 1:
        return app.run(settings, announce=announce)
    logs.configure(settings.log_level, settings.log_format)
    environment.hide_from_workers()
    try:
        sets = listeners.opened(settings.host, settings.port, sets=settings.processes)
    except OSError as error:
        _log.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror)
        return 1
    gc.freeze()  # a collection in a process would write to every page that it shares with the others
    with _signals() as told:
        supervisor = Supervisor(settings, sets, told=told, announce=announce)
        try:
            status = supervisor.keep()
        finally:
            ended = supervisor.end()
        return status or ended


@contextmanager
def _signals() -> Iterator[int]:
    """A descriptor from which each SIGTERM and SIGINT of the meantime can be read, as a byte."""
    told, tell = os.pipe()
    for end in (told, tell):
        os.set_blocking(end, False)
    before = {number: signal.signal(number, _noted) for number in SIGNALS}
    signal.set_wakeup_fd(tell)
    try:
        yield told
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)


def _noted(*_: object) -> None:
    """Do nothing: the signal's number arrives through the wake-up pipe."""


@dataclass(slots=True)
class _Seat:
    """A place for one process at a time: its sockets outlive whoever holds them.

    `due` is when the next one is to be started, `pause` how long the one after that would wait.
    """

    number: int
    sockets: Sequence[socket.socket]
    replica: Replica | None = None
    served: bool = False
    due: float = 0.0
    pause: float = 0.0

    def postpone(self) -> float:
        """Set when the next process is to be started, later each time; the seconds until then."""
        seconds = self.pause
        self.due = time.monotonic() + seconds
        self.pause = min(max(_FIRST_PAUSE_SECONDS, 2 * seconds), _LONGEST_PAUSE_SECONDS)
        if seconds > _FIRST_PAUSE_SECONDS:  # nobody should wait here for so long
            listeners.set_aside(self.sockets)
        return seconds


class Supervisor:
    """Owns the processes; `keep` until it is time, then `end`."""

    def __init__(
        self,
        settings: Settings,
        sets: Sequence[Sequence[socket.socket]],
        *,
        told: int,
        announce: Callable[[str], None] | None,
    ) -> None:
        """`told` is where signals can be read, a byte each, without waiting."""
        self._settings = settings
        self._sets = sets
        self._slates = Slates(len(sets))
        self._told = told
        self._signals = 0
        self._announce = announce
        self._announced = False
        self._seats = [_Seat(number, sockets) for number, sockets in enumerate(sets, start=1)]

    def keep(self) -> int:
        """Have every seat taken until a signal comes (0), or nobody can serve (that one's status)."""
        while True:
            for seat in self._seats:
                if seat.replica is None and seat.due <= time.monotonic():
                    self._take(seat)
            self._wait(self._replicas(), self._until_due())
            if self._signals:
                return 0
            for seat in self._seats:
                if seat.replica is not None and (status := self._look_after(seat, seat.replica)):
                    return status
            self._tell()

    def end(self) -> int:
        """Let every process finish what it does and end; 0 where all did so with 0, else 1.

        A second signal is passed on to them, and whoever takes too long is killed.
        """
        _log.info("shutting down")
        last = self._replicas()
        for seat in self._seats:
            for listener in seat.sockets:
                listener.close()  # the last copy: or clients would wait where nobody takes them
        self._send(signal.SIGTERM)
        hurried = False
        until = time.monotonic() + self._settings.drain_seconds + _GRACE_SECONDS
        while running := self._running():
            if self._signals > 1 and not hurried:
                hurried = True
                self._send(signal.SIGINT)  # another number: two alike may become one on the way
                until = time.monotonic() + _GRACE_SECONDS
            if time.monotonic() >= until:
                _log.error("%d processes do not end, and are killed", len(running))
                self._send(signal.SIGKILL)
                until += _GRACE_SECONDS
            self._wait(running, until - time.monotonic())
        return 1 if hurried or any(replica.status for replica in last) else 0

    def _take(self, seat: _Seat) -> None:
        try:
            seat.replica = Replica(self._settings, seat.number, sets=self._sets, slates=self._slates)
        except OSError as error:
            pause = seat.postpone()
            _log.error("no process %d can be begun, next try in %g s: %s", seat.number, pause, error.strerror)

    def _look_after(self, seat: _Seat, replica: Replica) -> int:
        """See to a process that has ended. Its status where trying again is no use, else 0."""
        seat.served = seat.served or replica.address is not None
        if (status := replica.status) is None:
            return 0
        if replica.address is None and status in _FOR_GOOD:
            alone = not any(other.address for other in self._running())
            if alone or not seat.served:
                return status
        self._bury(seat, replica)
        return 0

    def _bury(self, seat: _Seat, replica: Replica) -> None:
        seat.replica = None
        if replica.seconds >= _SHORT_LIFE_SECONDS:
            seat.pause = 0.0
        pause = seat.postpone()
        told = {"pid": replica.pid, "reason": replica.reason, "lived_seconds": round(replica.seconds, 1)}
        when = f"in {pause:g} s" if pause else "at once"
        _log.error("process %d ended, another takes its place %s", seat.number, when, extra=told)

    def _tell(self) -> None:
        """Say so once everybody listens, the first time."""
        addresses = [seat.replica.address for seat in self._seats if seat.replica and seat.replica.address]
        if not self._announced and len(addresses) == len(self._seats):
            self._announced = True
            _log.info("%d processes listen on %s", len(addresses), addresses[0])
            if self._announce is not None:
                self._announce(addresses[0])

    def _wait(self, replicas: Sequence[Replica], seconds: float | None) -> None:
        """Until one of them or a signal has news, or so many seconds; takes in what it is."""
        news = [each for replica in replicas for each in replica.news()]
        wait([self._told, *news], None if seconds is None else max(0.0, seconds))
        with suppress(BlockingIOError):
            self._signals += len(os.read(self._told, 64))
        for replica in replicas:
            replica.hear()

    def _until_due(self) -> float | None:
        due = [seat.due for seat in self._seats if seat.replica is None]
        return min(due) - time.monotonic() if due else None

    def _replicas(self) -> list[Replica]:
        """The processes that hold a seat, also one whose end was not noticed yet."""
        return [seat.replica for seat in self._seats if seat.replica is not None]

    def _running(self) -> list[Replica]:
        return [replica for replica in self._replicas() if replica.status is None]

    def _send(self, number: signal.Signals) -> None:
        for replica in self._running():
            replica.send(number)
