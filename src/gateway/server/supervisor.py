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

from gateway.server import listeners, server
from gateway.server.process import ENDING, SIGNALS, Replica
from gateway.settings import Current
from gateway.settings.reload import Reload
from gateway.system import environment
from gateway.telemetry import logs
from gateway.telemetry.metrics.shared import Slates

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from gateway.settings import Settings

logger = logging.getLogger(__name__)

_SHORT_LIFE_SECONDS: Final = 30.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 15.0
_LAST_SECONDS: Final = 10.0  # for what a process does after its drain
_SILENT_SECONDS: Final = 30.0
_LOOKS: Final = 6  # in that time
_FOR_GOOD: Final = (1, 2)  # cannot listen; wrong settings, or a cache that cannot be used


def run(
    settings: Settings,
    *,
    announce: Callable[[str], None] | None = None,
    reread: Callable[[], Settings] | None = None,
    silence: float = _SILENT_SECONDS,
) -> int:
    """Serve until SIGTERM or SIGINT, in this process where one is enough; the exit status.

    `announce` is told the address once every process listens. The first signal lets the requests in
    flight be answered (status 0 where every process ended with that), a second one ends them at once
    (status 1). At SIGHUP, which is not heard without `reread`, the settings are read again. A process that
    ends, or whose event loop stands still for `silence` seconds, is replaced; where none can serve, all end
    with its status. One that has no supervisor has twice the time before it ends itself (status 1).
    """
    if reread is not None:  # held back until somebody hears it: it would end the process
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    logs.configure(settings.log_level, settings.log_format)
    try:
        sets = listeners.opened(settings.host, settings.port, sets=settings.processes)
    except OSError as error:
        logger.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror)
        return 1
    if settings.processes == 1:
        patience = 2 * silence
        return server.run(settings, listeners=sets[0], announce=announce, reread=reread, silence=patience)
    environment.hide_from_workers()
    gc.freeze()  # a collection in a process would write to every page that it shares with the others
    with _signals(SIGNALS if reread is not None else ENDING) as told:
        supervisor = Supervisor(settings, sets, told=told, announce=announce, reread=reread, silence=silence)
        try:
            status = supervisor.keep()
        finally:
            ended = supervisor.end()
        return status or ended


@contextmanager
def _signals(numbers: Sequence[signal.Signals]) -> Iterator[int]:
    """A descriptor from which the number of each of these signals can be read that comes meanwhile."""
    told, tell = os.pipe()
    for end in (told, tell):
        os.set_blocking(end, False)
    before = {number: signal.signal(number, _noted) for number in numbers}
    signal.set_wakeup_fd(tell)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
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


def _apply(settings: Settings) -> None:
    """What the supervisor itself goes by; it reads the rest when it needs it."""
    logs.configure(settings.log_level, settings.log_format)


class Supervisor:
    """Owns the processes; `keep` until it is time, then `end`."""

    def __init__(
        self,
        settings: Settings,
        sets: Sequence[Sequence[socket.socket]],
        *,
        told: int,
        announce: Callable[[str], None] | None,
        reread: Callable[[], Settings] | None,
        silence: float,
    ) -> None:
        """`told` is where signals can be read, a byte each, without waiting."""
        self._current = Current(settings)
        self._reread = reread
        self._sets = sets
        self._slates = Slates(len(sets))
        self._told = told
        self._signals: list[signal.Signals] = []
        self._hung_up = False
        self._silence = silence
        self._next_look = time.monotonic()
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
            self._look_for_hung()
            if self._hung_up:
                self._hung_up = False
                self._read_again()

    def end(self) -> int:
        """Let every process finish what it does and end; 0 where all did so with 0, else 1.

        They are told by the signal that came: for a load balancer's sake they still take connections for a
        while after SIGTERM. A second signal is passed on to them, and whoever takes too long is killed.
        """
        logger.info("shutting down")
        last = self._replicas()
        for seat in self._seats:
            for listener in seat.sockets:
                listener.close()  # so that who closes them last ends them: clients would wait where nobody is
        first = self._signals[0] if self._signals else signal.SIGINT
        self._send(first)
        hurried = False
        until = time.monotonic() + self._current.now.drain_seconds + _LAST_SECONDS
        while running := self._running():
            if len(self._signals) > 1 and not hurried:
                hurried = True
                # Another number: two alike may become one on the way.
                self._send(signal.SIGINT if first == signal.SIGTERM else signal.SIGTERM)
                until = time.monotonic() + _LAST_SECONDS
            if time.monotonic() >= until:
                logger.error("%d processes do not end, and are killed", len(running))
                self._send(signal.SIGKILL)
                until += _LAST_SECONDS
            self._wait(running, until - time.monotonic())
        return 1 if hurried or any(replica.status for replica in last) else 0

    def _read_again(self) -> None:
        """Have the settings for processes to come, and have those that run read them for themselves."""
        if self._reread is not None:
            reload = Reload(self._current, self._reread, apply=_apply)
            if reload.take(reload.read()):
                self._send(signal.SIGHUP)

    def _look_for_hung(self) -> None:
        """End whoever's event loop was silent at each of our looks: it is replaced like any that ended."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._silence / _LOOKS
        for replica in self._running():
            if replica.look() >= _LOOKS:
                logger.error(
                    "process %d hangs, its event loop has not turned for %g s: it is ended",
                    replica.number,
                    self._silence,
                    extra={"pid": replica.pid},
                )
                replica.end_hung()

    def _take(self, seat: _Seat) -> None:
        try:
            seat.replica = Replica(
                self._current.now, seat.number, sets=self._sets, reread=self._reread, slates=self._slates
            )
        except OSError as error:
            pause = seat.postpone()
            logger.error(
                "no process %d can be begun, next try in %g s: %s", seat.number, pause, error.strerror
            )

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
        logger.error("process %d ended, another takes its place %s", seat.number, when, extra=told)

    def _tell(self) -> None:
        """Say so once everybody listens, the first time."""
        addresses = [seat.replica.address for seat in self._seats if seat.replica and seat.replica.address]
        if not self._announced and len(addresses) == len(self._seats):
            self._announced = True
            logger.info("%d processes listen on %s", len(addresses), addresses[0])
            if self._announce is not None:
                self._announce(addresses[0])

    def _wait(self, replicas: Sequence[Replica], seconds: float) -> None:
        """Until one of them or a signal has news, or so many seconds; takes in what it is."""
        news = [each for replica in replicas for each in replica.news()]
        wait([self._told, *news], max(0.0, seconds))
        with suppress(BlockingIOError):
            for number in os.read(self._told, 64):
                if number == signal.SIGHUP:
                    self._hung_up = True
                else:
                    self._signals.append(signal.Signals(number))
        for replica in replicas:
            replica.hear()

    def _until_due(self) -> float:
        due = [seat.due for seat in self._seats if seat.replica is None]
        return min([self._next_look, *due]) - time.monotonic()

    def _replicas(self) -> list[Replica]:
        """The processes that hold a seat, also one whose end was not noticed yet."""
        return [seat.replica for seat in self._seats if seat.replica is not None]

    def _running(self) -> list[Replica]:
        return [replica for replica in self._replicas() if replica.status is None]

    def _send(self, number: signal.Signals) -> None:
        for replica in self._running():
            replica.send(number)
