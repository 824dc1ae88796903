"""The gateway's handle on the fork server: start it, order processes from it, end it."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from workers.process.descriptors import check_free_descriptors, wait_readable
from workers.process.order import PickledOrder
from workers.process.running_forkserver import PROGRAM, RunningForkServer
from workers.runtime import tempdir
from workers.spawn_health import SpawnHealth
from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workers.limits import Preload

DEFAULT_WALL: Final = WallPolicy()
_ENTRY_PACKAGE: Final = "workers.runtime.preload"
_PROBE_TIMEOUT_SECONDS: Final = 10.0
_MEASURE_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ForkedProcess:
    """A process that the fork server has started. Its descriptors belong to the caller.

    `sentinel` becomes readable when the process and all that it started have ended, and the fork server
    has reaped them; it then has the exit code as four bytes, or none if the fork server ended first.
    `pidfd` refers to the process, even when another one has its id; None if the system has none. `watched`
    is that descriptor, or a copy of `sentinel`: it becomes readable when the process has ended.
    """

    pid: int
    pidfd: int | None
    sentinel: int
    watched: int


class ForkServerEvents(Protocol):
    """What the fork server tells unasked. Its methods are called in a thread of their own."""

    def on_ready(self, failed_imports: Sequence[str]) -> None:
        """Take the names of the modules that could not be imported."""

    def on_orphans_ended(self, count: int) -> None:
        """Take the number of processes that models had left behind."""


class ForkServer:
    """A handle on a fork server, which can be used from several threads.

    The server is started when it is needed, and again when it has ended. It ends with this process or when
    the handle is closed, and the workers end with it.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        preload: Preload = "full",
        wall: WallPolicy = DEFAULT_WALL,
        python: str = sys.executable,
        fork_timeout_seconds: float = 60.0,
    ) -> None:
        """Set how servers are started. What they tell goes to `events`.

        `environment` is the whole environment that workers see; None passes on this process' own.
        `preload` is what the server imports, and `python` the interpreter that runs it. `wall` is for the
        workers that are started, which confine themselves. A fork that takes
        longer than `fork_timeout_seconds`, imports included, ends the server.
        """
        self.fork_timeout_seconds = fork_timeout_seconds
        self.spawn_health = SpawnHealth()
        self.entry_module = f"{_ENTRY_PACKAGE}.{preload}"
        self._environment = None if environment is None else dict(environment)
        self._python = python
        self.wall = wall
        self.events: ForkServerEvents | None = None
        self._lock = threading.Lock()
        self._server: RunningForkServer | None = None
        self._closed = False

    def ensure_running(self) -> None:
        """Start the server if it does not run. Returns at once; the server imports in the background.

        Raises OSError if it cannot be started.
        """
        with self._lock:
            self._ensure_running()

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it does not run."""
        server = self._server
        return None if server is None or server.killed else server.process.pid

    @property
    def is_ready(self) -> bool:
        """Whether the server has imported what it should."""
        server = self._server
        return server is not None and server.ready.is_set() and not server.killed

    @property
    def start_seconds(self) -> float:
        """How long a start may take now: a fork, and what the server has to import before it."""
        return self.fork_timeout_seconds

    def start(self, order: PickledOrder, output: int) -> ForkedProcess:
        """Have a process forked that runs the order, with `output` as its standard output and error. Blocks.

        Raises OSError if the system lacks something to start a process, or the server; EOFError if the
        server ends before it has forked.
        """
        check_free_descriptors()
        with ExitStack() as undo:
            sentinel, report = os.pipe()
            undo.callback(os.close, sentinel)
            try:
                watched = os.dup(sentinel)  # before the fork: afterwards there may be no descriptor left
                undo.callback(os.close, watched)
                pid, pidfd = self._order(order, (report, output))
            finally:
                os.close(report)
            undo.pop_all()
        if pidfd is not None:
            os.close(watched)
        return ForkedProcess(pid, pidfd, sentinel, watched if pidfd is None else pidfd)

    def new_tempdir(self) -> str:
        """Return a path for a new folder of one process' temporary files."""
        return tempdir.new_path()

    def measure_pss(self) -> int:
        """Return the server's share of the memory that it maps in bytes; 0 if it does not say. Blocks.

        No process but the server itself can measure it.
        """
        with suppress(OSError, EOFError, TimeoutError, KeyError, TypeError, ValueError, OverflowError):
            if (server := self._server) is not None:
                message, pidfd = server.order(b"").result(_MEASURE_TIMEOUT_SECONDS)
                if pidfd is not None:
                    os.close(pidfd)
                return max(0, int(message["pss_bytes"]))
        return 0

    def kill(self) -> None:
        """Kill the server and so all workers; the next start begins another one."""
        if (server := self._server) is not None:
            server.kill()

    def end_hung(self) -> None:
        """Kill the server because a start took longer than `start_seconds`."""
        self.kill()

    def refuse_starts(self) -> None:
        """Start no server any more; a start that waits for one raises EOFError."""
        self._closed = True

    def close(self) -> None:
        """End the server and all processes below it, and wait until they have ended. Blocks."""
        self.refuse_starts()
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def probe_spawn(self) -> None:
        """Start a process that does nothing, and wait until it ends. Blocks.

        Raises OSError or EOFError if no process can be started.
        """
        with open(os.devnull, "wb") as output:  # noqa: PTH123 - a descriptor is wanted
            process = self.start(PickledOrder.of(_noop), output.fileno())
        try:
            wait_readable(process.sentinel, _PROBE_TIMEOUT_SECONDS)
        finally:
            os.close(process.sentinel)
            os.close(process.watched)

    def _order(self, order: PickledOrder, reports: tuple[int, int]) -> tuple[int, int | None]:
        """Return the id of the process that is forked, and a descriptor of it. Blocks."""
        with self._lock:
            server = self._ensure_running()
            reply = server.order(order.body, (*reports, *order.descriptors))
        message, pidfd = reply.result()
        return int(message["pid"]), pidfd

    def _ensure_running(self) -> RunningForkServer:
        if self._closed:
            raise EOFError("the gateway closes")
        if self._server is None or self._server.killed:
            self._server = self._run_server()
        return self._server

    def _run_server(self) -> RunningForkServer:
        own = self._python == sys.executable
        setup = {
            "path": sys.path if own else [],
            "preload": self.entry_module,
            "private": self.wall.private,
        }
        command = [self._python, PROGRAM, "default"]
        return RunningForkServer(command, self._environment, setup, self._handle_event)

    def _handle_event(self, message: Mapping[str, Any]) -> None:
        if self.events is None:
            return
        if "failed_imports" in message:
            self.events.on_ready([str(name) for name in message["failed_imports"]])
        else:
            self.events.on_orphans_ended(int(message["ended_orphans"]))


def _noop() -> None:
    """Do nothing, in the process of a probe."""
