"""One of several gateway processes: how it begins, and what its supervisor sees of it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from gateway.server import server
from gateway.server.watchdog import Pulse, Silence
from gateway.telemetry.metrics.collector import Seat

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from gateway.settings import Settings
    from gateway.telemetry.metrics.shared import Slates

ENDING: Final = (signal.SIGTERM, signal.SIGINT)
SIGNALS: Final = (*ENDING, signal.SIGHUP)

_PR_SET_PDEATHSIG: Final = 1
_LONGEST_ADDRESS: Final = 1024
_LAST_WORDS_SECONDS: Final = 2.0
# A fork has this very process' settings and sockets, whatever `.env` says by now, and stays hidden
# from the workers of its siblings, as it would not across an exec.
_FORK: Final = multiprocessing.get_context("fork")


class Replica:
    """A gateway process that runs, or has ended.

    It leads a session of its own, so that Ctrl-C reaches its supervisor alone; it is told to stop
    when its supervisor dies, however that happens.
    """

    def __init__(
        self,
        settings: Settings,
        number: int,
        *,
        sets: Sequence[Sequence[socket.socket]],
        reread: Callable[[], Settings] | None,
        slates: Slates,
    ) -> None:
        """Start it on the sockets and with the slate of its number, from 1.

        Raises OSError where there can be no process.
        """
        self.number = number
        pulse = Pulse()
        self._silence = Silence(pulse)
        self.address: str | None = None
        self._began = time.monotonic()
        self._report, tell = _FORK.Pipe(duplex=False)
        more = {"sets": sets, "supervisor": os.getpid(), "report": tell, "reread": reread, "pulse": pulse}
        self._process = _FORK.Process(
            target=_live, args=(settings, Seat(slates, number)), kwargs=more, name=f"gateway {number}"
        )
        try:
            with _held_back():
                self._process.start()
        except OSError:
            self._report.close()
            raise
        finally:
            tell.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    @property
    def status(self) -> int | None:
        """Its exit status, the negative number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._began

    @property
    def reason(self) -> str:
        """What it ended with, for a person."""
        status = self.status or 0
        if status >= 0:
            return f"status {status}"
        with suppress(ValueError):
            return signal.Signals(-status).name
        return f"signal {-status}"

    def news(self) -> list[Connection | int]:
        """What becomes readable when it has something to say, and when it ends."""
        return [self._process.sentinel, *([] if self._report.closed else [self._report])]

    def hear(self) -> None:
        """Take what it has said: its `address`, once it listens there."""
        if not self._report.closed and self._report.poll():
            with suppress(EOFError, OSError):
                self.address = self._report.recv_bytes(_LONGEST_ADDRESS).decode()
            self._report.close()

    def look(self) -> int:
        """Look whether its event loop has turned; how often in a row it had not."""
        return self._silence.look()

    def end_hung(self) -> None:
        """Have it write where it hangs, where it still can, and end it."""
        self.send(signal.SIGABRT)
        self._process.join(_LAST_WORDS_SECONDS)
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """A signal, where it still runs."""
        if self.status is None:
            os.kill(self.pid, number)  # it is our child, and not waited for: the id is its own


@contextmanager
def _held_back() -> Iterator[None]:
    """No signal comes meanwhile: in a process just begun it would count as its supervisor's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _live(
    settings: Settings,
    seat: Seat,
    *,
    sets: Sequence[Sequence[socket.socket]],
    supervisor: int,
    report: Connection,
    reread: Callable[[], Settings] | None,
    pulse: Pulse,
) -> NoReturn:
    """All that runs in the new process."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for each in ENDING:
        signal.signal(each, _leave)
    if reread is None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.platform == "linux":  # SIGINT: without its supervisor it need not wait for a load balancer
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != supervisor:  # it ended before we asked
        sys.exit(0)
    # SIGHUP stays held back until the event loop hears it: it may be about settings that we do not have.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS if reread is None else ENDING)
    for index, others in enumerate(sets, start=1):
        if index != seat.number:  # nobody would hear the connections made there once its own process is gone
            for listener in others:
                listener.close()

    def tell(address: str) -> None:
        with report, suppress(OSError):
            report.send_bytes(address.encode())

    status = server.run(
        settings, listeners=sets[seat.number - 1], announce=tell, reread=reread, seat=seat, pulse=pulse
    )
    sys.exit(status)


def _leave(*_: object) -> NoReturn:
    sys.exit(0)
