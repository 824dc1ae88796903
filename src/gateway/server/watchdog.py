"""End a gateway process that hangs."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from typing import Final, NoReturn

logger = logging.getLogger(__name__)

EVENT_LOOP_HUNG: Final = "event_loop_hung"
SHUTDOWN_HUNG: Final = "shutdown_hung"
_MESSAGES: Final = {
    EVENT_LOOP_HUNG: "The event loop has not run for %g s; ending the process. The stacks follow",
    SHUTDOWN_HUNG: "Shutdown did not finish within %g s; ending the process. The stacks follow",
}
_REPORT_SECONDS: Final = 5.0


class Watchdog:
    """A timer that ends the process, unless its deadline is moved before it expires.

    At the deadline a handler of SIGALRM writes one log line and the stacks of all threads to standard error.
    Then it ends the process with the chosen status. If the handler does not run because native code holds
    Python's lock, faulthandler's timer ends the process 5 s later (status 1): it is C code, and writes
    `Timeout (0:01:05)!` and the stacks. If writing blocks, the kernel ends the process (signal SIGALRM).

    The timers also run while the process is stopped, by SIGSTOP or a debugger. A process that was stopped for
    longer than its deadline ends when it is resumed.
    """

    def __init__(self, *, report_seconds: float = _REPORT_SECONDS) -> None:
        """Give the handler `report_seconds` to write and to end the process."""
        self._report_seconds = report_seconds
        self._seconds = 0.0
        self._status = 1
        self._event = EVENT_LOOP_HUNG
        signal.signal(signal.SIGALRM, self._on_deadline)

    def set_deadline(self, seconds: float, *, event: str = EVENT_LOOP_HUNG, status: int = 1) -> None:
        """End the process with `status` in `seconds` from now, unless this is called again before."""
        self._seconds, self._event, self._status = seconds, event, status
        signal.setitimer(signal.ITIMER_REAL, seconds)
        faulthandler.dump_traceback_later(
            seconds + self._report_seconds, exit=True, file=sys.__stderr__ or sys.stderr
        )

    def stop(self) -> None:
        """Cancel the deadline."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()

    def _on_deadline(self, *_: object) -> NoReturn:
        # Writing can block if the process hangs because nothing reads its log. Then the kernel ends it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, self._report_seconds)
        try:
            logger.critical(
                _MESSAGES[self._event],
                self._seconds,
                extra={"event": self._event, "seconds": self._seconds},
            )
            faulthandler.dump_traceback(sys.__stderr__ or sys.stderr, all_threads=True)
        finally:
            os._exit(self._status)
