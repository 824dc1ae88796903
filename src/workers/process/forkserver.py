"""The gateway's handle on the fork server: start it, order processes from it, end it."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from workers import forkserver as program
from workers.forkserver import transport
from workers.process.order import PickledOrder
from workers.spawn_health import SpawnHealth
from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workers.limits import Preload

    _Reply = tuple[dict[str, Any], int | None]

logger = logging.getLogger(__name__)

DEFAULT_WALL: Final = WallPolicy()
_PROGRAM: Final = str(Path(program.__file__).parent)
_ENTRY_PACKAGE: Final = "workers.runtime.preload"
_PROBE_TIMEOUT_SECONDS: Final = 10.0
_EXIT_TIMEOUT_SECONDS: Final = 10.0
_MEASURE_TIMEOUT_SECONDS: Final = 5.0
_SPARE_PIPES: Final = 8  # of two descriptors each: more than a start needs


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
        self._server: _RunningServer | None = None
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
                with self._lock:
                    server = self._ensure_running()
                    reply = server.order(order.body, (report, output, *order.descriptors))
                message, pidfd = reply.result()
            finally:
                os.close(report)
            undo.pop_all()
        if pidfd is not None:
            os.close(watched)
        return ForkedProcess(int(message["pid"]), pidfd, sentinel, watched if pidfd is None else pidfd)

    def measure_pss(self) -> int:
        """Return the server's share of the memory that it maps in bytes; 0 if it does not say. Blocks.

        No process but the server itself can measure it.
        """
        with suppress(OSError, EOFError, TimeoutError):
            if (server := self._server) is not None:
                return int(server.order(b"").result(_MEASURE_TIMEOUT_SECONDS)[0]["pss_bytes"])
        return 0

    def kill(self) -> None:
        """Kill the server and so all workers; the next start begins another one."""
        if (server := self._server) is not None:
            server.kill()

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

    def _ensure_running(self) -> _RunningServer:
        if self._closed:
            raise EOFError("the gateway closes")
        if self._server is None or self._server.killed:
            own = self._python == sys.executable
            setup = {"path": sys.path if own else [], "preload": self.entry_module}
            self._server = _RunningServer(self._python, self._environment, setup, self._handle_event)
        return self._server

    def _handle_event(self, message: Mapping[str, Any]) -> None:
        if self.events is None:
            return
        if "failed_imports" in message:
            self.events.on_ready([str(name) for name in message["failed_imports"]])
        else:
            self.events.on_orphans_ended(int(message["ended_orphans"]))


class _RunningServer:
    """One process of the fork server, and the thread that receives what it sends."""

    def __init__(
        self,
        python: str,
        environment: Mapping[str, str] | None,
        setup: Mapping[str, Any],
        on_event: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.killed = False
        self._ended = False
        self._ready = threading.Event()
        self._on_event = on_event
        self._pending: deque[Future[_Reply]] = deque()
        self._lock = threading.Lock()
        with ExitStack() as undo:
            self._control, far = map(undo.enter_context, socket.socketpair())
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [python, _PROGRAM, str(far.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[far.fileno()],
                process_group=0,  # a terminal sends its signals to the gateway alone, which then ends this
            )
            undo.callback(self.process.kill)
            far.close()
            transport.send(self._control, json.dumps(setup).encode())
            self._reader = threading.Thread(target=self._receive, name="fork server", daemon=True)
            self._reader.start()
            undo.pop_all()

    def order(self, body: bytes, descriptors: Sequence[int] = ()) -> Future[_Reply]:
        """Send an order; return the reply to come, or its error. Raises OSError or EOFError."""
        outcome: Future[_Reply] = Future()
        with self._lock:
            if self._ended:
                raise EOFError("the fork server has ended")
            self._pending.append(outcome)
            try:
                transport.send(self._control, body, descriptors)
            except (BrokenPipeError, ConnectionResetError) as error:
                self._pending.remove(outcome)
                raise EOFError("the fork server has ended") from error
            except OSError:  # nothing was sent: the next reply is another order's
                self._pending.remove(outcome)
                raise
        return outcome

    def kill(self) -> None:
        """Kill the server and so all workers."""
        self.killed = True
        self.process.kill()

    def close(self) -> None:
        """Let the server end all processes below it and itself; kill it if it takes too long."""
        if not self._ready.is_set():
            self.kill()  # it would import to the end first
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            self.process.wait(_EXIT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()

    def _receive(self) -> None:
        """Receive what the server sends, in a thread, until it has ended."""
        try:
            while True:
                self._handle(*_receive_message(self._control))
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("The fork server sent what it should not", extra={"event": "fork_server_broken"})
        finally:
            self._end()

    def _end(self) -> None:
        self.kill()
        self.process.wait()
        with self._lock:
            self._ended = True
            pending, self._pending = self._pending, deque()
        self._control.close()
        for outcome in pending:
            outcome.set_exception(EOFError("the fork server has ended"))

    def _handle(self, message: dict[str, Any], pidfd: int | None) -> None:
        if "failed_imports" in message:
            self._ready.set()
        if "failed_imports" in message or "ended_orphans" in message:
            self._on_event(message)
            return
        with self._lock:
            outcome = self._pending.popleft()
        if "errno" in message:
            outcome.set_exception(OSError(message["errno"], os.strerror(message["errno"])))
        else:
            outcome.set_result((message, pidfd))


def _receive_message(control: socket.socket) -> _Reply:
    try:
        body, descriptors = transport.receive(control)
    except transport.DescriptorsLost as lost:  # the process is known by its id alone
        body, descriptors = lost.body, []
    return json.loads(body), descriptors[0] if descriptors else None


def check_free_descriptors() -> None:
    """Raise OSError if fewer descriptors are free than a start needs, which would fail half-way."""
    with ExitStack() as spare:
        for _ in range(_SPARE_PIPES):
            for descriptor in os.pipe():
                spare.callback(os.close, descriptor)


def wait_readable(descriptor: int, seconds: float | None) -> bool:
    """Return whether a descriptor becomes readable in time. Blocks."""
    return bool(wait([descriptor], seconds))


def _noop() -> None:
    """Do nothing, in the process of a probe."""
