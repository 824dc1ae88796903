"""Watch one worker process: learn its id, report its exit, kill it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.protocol.messages import PID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection


class ProcessWatcher:
    """A reader of a pipe whose other end a worker process keeps open as long as it lives.

    The worker's only message is its process id, sent before any code of the model runs, so that a load
    that hangs can be killed too. From then on a process descriptor reports the exit if the system has
    them; otherwise the end of the pipe does. A process that the model forked may keep the pipe open
    after the worker's exit. Nothing that comes through the pipe is unpickled.
    """

    def __init__(self, connection: Connection, *, on_exit: Callable[[], None]) -> None:
        """Watch from the running loop, which calls `on_exit` once."""
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._pidfd = -1
        self._kill_requested = False
        self._on_exit = on_exit
        self.pid: int | None = None
        self.dead = asyncio.Event()
        self._loop.add_reader(connection.fileno(), self._on_readable)

    def kill(self) -> None:
        """Kill the process and all that it started, as soon as its id is known. Can be called repeatedly."""
        self._kill_requested = True
        if self.pid is not None and not self.dead.is_set():
            _kill(self.pid, self._pidfd)

    def _on_readable(self) -> None:
        try:
            message = self._connection.recv_bytes(PID_BYTES)
        except (EOFError, OSError):
            self._handle_exit()
            return
        if self.pid is not None:
            return  # the model's code wrote this: it means nothing
        self.pid = int.from_bytes(message, "little")
        if hasattr(os, "pidfd_open"):
            try:
                self._pidfd = os.pidfd_open(self.pid)
            except ProcessLookupError:
                self._handle_exit()
                return
            except OSError:
                pass  # no descriptor is free: the end of the pipe reports the exit
            else:
                self._loop.remove_reader(self._connection.fileno())
                self._loop.add_reader(self._pidfd, self._handle_exit)
        if self._kill_requested:
            _kill(self.pid, self._pidfd)

    def _handle_exit(self) -> None:
        self._stop_watching()
        if self.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.dead.set()
        self._on_exit()

    def _stop_watching(self) -> None:
        if not self._connection.closed:
            self._loop.remove_reader(self._connection.fileno())
            self._connection.close()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def _kill(pid: int, pidfd: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        if pidfd >= 0:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
