"""What the process is told by signals while its event loop runs."""

from __future__ import annotations

import asyncio
import signal


class SignalEvents:
    """Hears signals in the running loop, from its making on.

    `stop` is set by the first SIGTERM or SIGINT, `now` by the second of them; `hangup` by each SIGHUP,
    where that is heard; one that was held back until now counts. `patient` is false where the first was
    SIGINT: a person at a terminal waits.
    """

    def __init__(self, *, handle_sighup: bool) -> None:
        self.stop, self.force, self.reload = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.graceful = True
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
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
