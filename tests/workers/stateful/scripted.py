"""Workers whose processes a test scripts; the socket, the channel and the handle are the real ones."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, cast

from workers.process.spawn import Spawn
from workers.process.worker import ProcessWorker
from workers.protocol import framing
from workers.protocol.messages import Failure, LoadReport, RowBatching
from workers.spawn_health import SpawnHealth
from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.process.channel import ReplyCallback
    from workers.process.forkserver import ForkServer
    from workers.process.watcher import ProcessWatcher
    from workers.protocol.messages import ModelSource, WorkerReply, WorkerRequest

_KILL_SECONDS = 0.01  # until a killed process ends
_MAX_BYTES = 2**20
_LEAVE_SECONDS = 0.02  # until an idle process finds that its socket was closed


class ScriptedProcess:
    """The child's side: it takes a batch, replies and ends when the test says so.

    It also stands for the worker's `ProcessWatcher`.
    """

    def __init__(
        self, worker: ScriptedWorker, child_socket: socket.socket, *, forkserver: ScriptedForkServer
    ) -> None:
        self._forkserver = forkserver
        self._loop = asyncio.get_running_loop()
        self._worker = worker
        self.source = worker.source
        self._socket = child_socket
        self._socket.setblocking(False)
        self.alive = True
        self.loaded = False
        self.running: tuple[WorkerRequest, ...] | None = None
        self.stream_id: int | None = None
        self.unsent = b""
        self.sent_garbage = False
        self.disconnected = False
        self.pid = 0  # of no real process
        self.dead = asyncio.Event()
        self.kill_requested = False

    @property
    def busy(self) -> bool:
        """Whether it runs a batch, or can begin one."""
        return self.running is not None or bool(self._peek(1))

    def take_batch(self) -> tuple[WorkerRequest, ...] | None:
        """Return the batch that it runs, or begin the next one; None if there is none."""
        if self.running is None and self.alive and (header := self._read(framing.HEADER.size)):
            count, size, _ = framing.HEADER.unpack(header)
            entries = self._read(framing.entries_size(count, of_requests=True))
            self.running = framing.decode_requests(entries, self._read(size))
        return self.running

    def unread(self) -> list[WorkerRequest]:
        """Return the requests in its socket, and leave them there."""
        requests: list[WorkerRequest] = []
        rest = self._peek(_MAX_BYTES) or b""
        while rest:
            count, size, _ = framing.HEADER.unpack(rest[: framing.HEADER.size])
            start = framing.HEADER.size + framing.entries_size(count, of_requests=True)
            requests += framing.decode_requests(rest[framing.HEADER.size : start], rest[start : start + size])
            rest = rest[start + size :]
        return requests

    def reply(self, replies: list[WorkerReply | LoadReport], seconds: float, *, held_bytes: int = 0) -> None:
        """Reply to the batch that runs; `flush` sends the last `held_bytes` bytes."""
        self.running = None
        frame = b"".join(framing.encode_replies(replies, seconds))
        self.unsent = frame[len(frame) - held_bytes :] if held_bytes else b""
        self.write(frame[: len(frame) - len(self.unsent)])

    def flush(self) -> None:
        """Send the bytes that were held back."""
        unsent, self.unsent = self.unsent, b""
        self.write(unsent)

    def write(self, data: bytes) -> None:
        """Send bytes, unless the gateway has closed its end."""
        try:
            self._socket.send(data)
        except ConnectionError:
            return

    def report_load(self, *, fails: bool = False, row_batching: bool = True) -> None:
        """Report how the load went."""
        if self.alive and not self.loaded:
            self.loaded = not fails
            report = LoadReport(
                0.1, streamable=True, row_batching=RowBatching(row_batching, "the test says so")
            )
            self.reply([Failure("load", "It does not load.") if fails else report], 0.0)

    def die(self, *, report_delay: float = 0.0, disconnect_delay: float = 0.0) -> None:
        """End; its exit is reported, and its socket closed, after a delay."""
        if self.alive:
            self.alive = False
            self._forkserver.on_exit(self)
            if disconnect_delay:
                self._loop.call_later(disconnect_delay, self._close_socket)
            else:
                self._close_socket()
            self._loop.call_later(report_delay, self._report_exit)

    def disconnect(self) -> None:
        """Close both ends of the socket."""
        self._socket.close()
        self._worker._release_resources()

    def kill(self) -> None:
        """Do what a watcher does: the process ends a little later."""
        if not self.kill_requested:
            self.kill_requested = True
            self._loop.call_later(_KILL_SECONDS, self.die)

    def never_started(self) -> None:
        """Do what a watcher does."""
        self.die()

    def leave_soon(self) -> None:
        """End, unless it has a batch, when it finds its socket closed."""
        self._loop.call_later(_LEAVE_SECONDS, self._leave)

    def _leave(self) -> None:
        if self.alive and self.running is None and not self._peek(1):
            self.die()

    def _close_socket(self) -> None:
        self._forkserver.on_unread(self.unread())
        self.disconnected = True
        self._socket.close()

    def _report_exit(self) -> None:
        self.dead.set()
        self._worker._handle_exit()

    def _read(self, size: int) -> bytes:
        data = self._peek(size)
        assert data is None or len(data) in {0, size}, "a frame came in part"
        return self._socket.recv(size) if data else b""

    def _peek(self, size: int) -> bytes | None:
        try:
            return self._socket.recv(size, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""


class ScriptedForkServer(logging.Handler):
    """A fork server whose processes are scripted; `start_outcomes` is how the next starts go.

    `on_exit` is called with each process that ends, `on_unread` with the requests that it was given and
    never read, `on_accused` with those that it is given after it sent what is no frame. It handles the log
    too, and collects the exceptions that the code under test logs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logged_exceptions: list[str] = []
        self.start_outcomes: deque[str] = deque()
        self.started: list[ScriptedProcess] = []
        self.row_batching = True
        self.pid: int | None = None
        self.events: object = None
        self.wall = WallPolicy("off")
        self.start_seconds = 60.0
        self.spawn_health = SpawnHealth()
        self.on_exit: Callable[[ScriptedProcess], None] = _noop
        self.on_unread: Callable[[Sequence[WorkerRequest]], None] = _noop
        self.on_accused: Callable[[Sequence[WorkerRequest]], None] = _noop

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an exception that is logged."""
        if record.exc_info:
            self.logged_exceptions.append(logging.Formatter().format(record))

    def ensure_running(self) -> None:
        """Do nothing: it needs no process."""

    def kill(self) -> None:
        """Do nothing, as above."""

    def end_hung(self) -> None:
        """Do nothing, as above."""

    def close(self) -> None:
        """Do nothing, as above."""

    def refuse_starts(self) -> None:
        """Do nothing, as above."""

    def start(self, process: ScriptedProcess) -> None:
        """Start a process as scripted: `good`, `slow`, `fails`, `dies`, `refused` or `exhausted`."""
        outcome = self.start_outcomes.popleft() if self.start_outcomes else "good"
        if outcome in {"refused", "exhausted"}:
            process.die()
            raise OSError(errno.EAGAIN if outcome == "exhausted" else errno.EPIPE, "no process")
        self.started.append(process)
        if outcome == "dies":
            process.die()
        elif outcome != "slow":
            process.report_load(fails=outcome == "fails", row_batching=self.row_batching)

    @property
    def alive(self) -> list[ScriptedProcess]:
        """The processes that have not ended."""
        return [process for process in self.started if process.alive]

    @property
    def connected(self) -> list[ScriptedProcess]:
        """The processes that the gateway still listens to."""
        return [process for process in self.alive if not (process.kill_requested or process.sent_garbage)]


class ScriptedWorker(ProcessWorker):
    """The real handle, on a scripted process."""

    def __init__(
        self,
        source: ModelSource,
        child_socket: socket.socket,
        *,
        forkserver: ScriptedForkServer,
        on_exit: Callable[[ProcessWorker], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._release = _noop
        self._released = False
        self._channel = None
        self._forkserver = forkserver
        self.source = source
        self.process = ScriptedProcess(self, child_socket, forkserver=forkserver)
        self.watcher = cast("ProcessWatcher", self.process)
        self.load_report = LoadReport(0.0)

    def send_batch(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        super().send_batch(requests, on_reply)
        if self.process.disconnected:
            self._forkserver.on_unread(requests)
        if self.process.sent_garbage:
            self._forkserver.on_accused(requests)

    async def close(self) -> None:
        """Close the socket; the process ends when it finds that."""
        self.process.leave_soon()
        await super().close()


class ScriptedSpawn(Spawn):
    """The real start of a process, on a scripted fork server."""

    def __init__(
        self, source: ModelSource, *, forkserver: ForkServer, on_exit: Callable[[ProcessWorker], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._forkserver = forkserver
        self._forking = None
        self._scripted = cast("ScriptedForkServer", forkserver)
        self._parent_socket, child_socket = socket.socketpair()
        self.worker: ScriptedWorker = ScriptedWorker(
            source, child_socket, forkserver=self._scripted, on_exit=on_exit
        )

    def _watch(self, forking: asyncio.Future[None]) -> None:
        """Do nothing: the process reports its exit by itself."""

    def _submit(self) -> None:
        self._scripted.start(self.worker.process)

    def _close_child_ends(self) -> None:
        self.worker.process.die()


class InlineExecutor(Executor):
    """An executor that runs a call in its caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it belongs to the future
            future.set_exception(error)
        return future


def _noop(*_: object) -> None:
    """Do nothing."""
