"""Watch one worker process: report its exit, kill it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from workers.process_group import kill_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.process.forkserver import ForkedProcess

_RETRY_SECONDS: Final = 0.2


class ProcessWatcher:
    """A watcher of a process that the fork server is asked for, and of its exit.

    A process descriptor reports the exit if the system has them; otherwise the fork server does, once it
    has reaped the process.
    """

    def __init__(self, *, on_exit: Callable[[], None]) -> None:
        """Watch from the running loop, which calls `on_exit` once."""
        self._loop = asyncio.get_running_loop()
        self._descriptor = -1
        self._pidfd: int | None = None
        self._kill_requested = False
        self._on_exit = on_exit
        self.pid: int | None = None
        self.dead = asyncio.Event()

    def watch(self, process: ForkedProcess) -> None:
        """Watch a process that was started; owns what it is watched by."""
        self.pid, self._pidfd, self._descriptor = process.pid, process.pidfd, process.watched
        self._add_reader()
        if self._kill_requested:
            self.kill()

    def _add_reader(self) -> None:
        """Watch the descriptor; try again later if the system can watch no more, and end the process then."""
        try:
            self._loop.add_reader(self._descriptor, self._handle_exit)
        except OSError:
            self.kill()
            self._loop.call_later(_RETRY_SECONDS, self._add_reader)

    def never_started(self) -> None:
        """Report an exit: there is no process to watch."""
        if self._descriptor < 0 and not self.dead.is_set():
            self._report_exit()

    def kill(self) -> None:
        """Kill the process and all that it started, as soon as it is known. Can be called repeatedly."""
        self._kill_requested = True
        if self.pid is None or self.dead.is_set():
            return
        kill_group(self.pid, collected=self._pidfd is not None and self._is_collected())
        with suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)

    def _handle_exit(self) -> None:
        if self.pid is not None:  # the fork server does this as well, unless it has ended
            kill_group(self.pid, collected=self._is_collected())
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._pidfd = None
        self._report_exit()

    def _is_collected(self) -> bool:
        """Return whether the process, which has ended, may be collected: its id may be another's then."""
        if self._pidfd is None:
            return True
        try:
            signal.pidfd_send_signal(self._pidfd, 0)
        except ProcessLookupError:
            return True
        return False

    def _report_exit(self) -> None:
        self.dead.set()
        self._on_exit()
