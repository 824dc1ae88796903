"""What the process is told by signals while its event loop runs."""

from __future__ import annotations

import asyncio
import signal


class Signals:
    """Hears signals in the running loop, from its making on.

    `stop` is set by the first SIGTERM or SIGINT, `now` by the second of them; `hangup` by each SIGHUP,
    where that is heard; one that was held back until now counts. `patient` is false where the first was
    SIGINT: a person at a terminal waits.
    """

    def __init__(self, *, hear_hangup: bool) -> None:
        self.stop, self.now, self.hangup = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.patient = True
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        if hear_hangup:
            loop.add_signal_handler(signal.SIGHUP, self.hangup.set)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])

    def _end(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            self.now.set()
        else:
            self.patient = number != signal.SIGINT
            self.stop.set()
