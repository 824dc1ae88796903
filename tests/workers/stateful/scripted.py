"""Workers whose process is played by a test: the socket, the channel and the handle are the real ones."""

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

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.process.forkserver import ForkServer
    from workers.process.watcher import ProcessWatcher
    from workers.protocol.messages import ModelSource, WorkerReply, WorkerRequest

_KILL_SECONDS = 0.01  # until a signal is obeyed
_MOST_BYTES = 2**20
_LEAVE_SECONDS = 0.02  # until an idle process finds that it is not needed


class Process:
    """The child's part: it takes a batch when the test says so, answers what the test says, dies when told.

    It is what `ProcessWatcher` is to the worker.
    """

    def __init__(self, worker: Scripted, end: socket.socket, *, stage: Stage) -> None:
        self._stage = stage
        self._loop = asyncio.get_running_loop()
        self._worker = worker
        self.source = worker.source
        self.end = end
        self.end.setblocking(False)
        self.alive = True
        self.warm = False
        self.running: tuple[WorkerRequest, ...] | None = None
        self.stream: int | None = None
        self.unsent = b""
        self.lingers = False
        self.silenced = False
        self.pid = 0  # of no process there is
        self.dead = asyncio.Event()
        self.kill_wanted = False

    @property
    def busy(self) -> bool:
        """Whether it runs a batch, or could begin one."""
        return self.running is not None or bool(self._peek(1))

    def take(self) -> tuple[WorkerRequest, ...] | None:
        """What it runs: the batch that it has, or the next one, where there is one."""
        if self.running is None and self.alive and (head := self._read(framing.HEADER.size)):
            count, size, _ = framing.HEADER.unpack(head)
            entries = self._read(framing.entries_size(count, of_requests=True))
            self.running = framing.decode_requests(entries, self._read(size))
        return self.running

    def unread(self) -> list[WorkerRequest]:
        """What lies in its socket, and stays there."""
        asks: list[WorkerRequest] = []
        rest = self._peek(_MOST_BYTES) or b""
        while rest:
            count, size, _ = framing.HEADER.unpack(rest[: framing.HEADER.size])
            middle = framing.HEADER.size + framing.entries_size(count, of_requests=True)
            asks += framing.decode_requests(rest[framing.HEADER.size : middle], rest[middle : middle + size])
            rest = rest[middle + size :]
        return asks

    def answer(self, answers: list[WorkerReply | LoadReport], seconds: float, *, keep: int = 0) -> None:
        """Answer what runs; the last `keep` bytes follow with `flush`."""
        self.running = None
        frame = b"".join(framing.encode_replies(answers, seconds))
        self.unsent = frame[len(frame) - keep :] if keep else b""
        self.write(frame[: len(frame) - len(self.unsent)])

    def flush(self) -> None:
        """Send what was kept."""
        unsent, self.unsent = self.unsent, b""
        self.write(unsent)

    def write(self, data: bytes) -> None:
        """Send bytes, unless nobody reads them any more."""
        try:
            self.end.send(data)
        except ConnectionError:
            return

    def report(self, *, fails: bool = False, streamable: bool = True, merging: bool = True) -> None:
        """Say how the load went."""
        if self.alive and not self.warm:
            self.warm = not fails
            loaded = LoadReport(
                0.1, streamable=streamable, row_batching=RowBatching(merging, "the test says so")
            )
            self.answer([Failure("load", "It does not load.") if fails else loaded], 0.0)

    def die(self, *, told_after: float = 0.0, cut_after: float = 0.0) -> None:
        """End; its socket and the system tell of it so much later."""
        if self.alive:
            self.alive = False
            self.lingers = cut_after > 0
            self._stage.died(self)
            if self.lingers:
                self._loop.call_later(cut_after, self._close)
            else:
                self._close()
            self._loop.call_later(told_after, self._told)

    def hang_up(self) -> None:
        """Close both ends of the socket."""
        self.end.close()
        self._worker._release_resources()

    def _close(self) -> None:
        self._stage.cut(self)
        self.end.close()

    def kill(self) -> None:
        """What a lifeline does: the process ends, a little later."""
        if not self.kill_wanted:
            self.kill_wanted = True
            self._loop.call_later(_KILL_SECONDS, self.die)

    def leave_soon(self) -> None:
        """The process finds out for itself that no batch comes any more."""
        self._loop.call_later(_LEAVE_SECONDS, self._leave)

    def _leave(self) -> None:
        if self.alive and self.running is None and not self._peek(1):
            self.die()

    def _told(self) -> None:
        self.dead.set()
        self._worker._handle_exit()

    def _read(self, size: int) -> bytes:
        data = self._peek(size)
        assert data is None or len(data) in {0, size}, "a frame came in part"
        return self.end.recv(size) if data else b""

    def _peek(self, size: int) -> bytes | None:
        try:
            return self.end.recv(size, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""


class Stage(logging.Handler):
    """Where processes come from, in the template's place: `plan` says how the next starts go.

    `died` is told of each that ends, `cut` before its end of the socket is closed. It hears the log
    too: `lost` are the models whose last worker was lost, `troubles` what went wrong in our own code.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[str] = []
        self.troubles: list[str] = []
        self.plan: deque[str] = deque()
        self.started: list[Process] = []
        self.merging = True
        self.pid: int | None = None
        self.fork_timeout_seconds = 60.0
        self.spawn_health = SpawnHealth()
        self.died: Callable[[Process], None] = _nothing
        self.cut: Callable[[Process], None] = _nothing

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a line."""
        if record.exc_info:
            self.troubles.append(logging.Formatter().format(record))
        if "lost its last worker" in record.msg and isinstance(record.args, tuple):
            self.lost.append(str(record.args[0]))

    def ensure_running(self) -> None:
        """It needs no process."""

    def is_alive(self, pid: int | None) -> bool:
        """What refuses a process has ended by it."""
        return pid is not self.pid

    def begin(self, process: Process) -> None:
        """A process starts: `well`, or `slow`, `fails`, `dies`, `refused`; or the system has `none`."""
        how = self.plan.popleft() if self.plan else "well"
        if how in {"refused", "none"}:
            process.die()
            raise OSError(errno.EAGAIN if how == "none" else errno.EPIPE, "no process")
        self.started.append(process)
        if how == "dies":
            process.die()
        elif how != "slow":
            process.report(fails=how == "fails", merging=self.merging)

    @property
    def alive(self) -> list[Process]:
        """The processes there are."""
        return [process for process in self.started if process.alive]

    @property
    def able(self) -> list[Process]:
        """Those that the gateway still listens to, as far as can be told."""
        return [process for process in self.alive if not (process.kill_wanted or process.silenced)]


class Scripted(ProcessWorker):
    """The real handle, on a process that a test plays."""

    def __init__(
        self,
        source: ModelSource,
        end: socket.socket,
        *,
        stage: Stage,
        on_exit: Callable[[ProcessWorker], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._release = _no_release
        self._released = False
        self._channel = None
        self.source = source
        self.process = Process(self, end, stage=stage)
        self._watcher = cast("ProcessWatcher", self.process)
        self.load_report = LoadReport(0.0)

    async def close(self) -> None:
        """The end of its socket is found by the process, which then leaves."""
        self.process.leave_soon()
        await super().close()


class ScriptedSpawn(Spawn):
    """The start of a process that a test plays."""

    def __init__(
        self, source: ModelSource, *, forkserver: ForkServer, on_exit: Callable[[ProcessWorker], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._forkserver = forkserver
        self._forking = None
        self._stage = cast("Stage", forkserver)
        self._parent_socket, far = socket.socketpair()
        self.worker: Scripted = Scripted(source, far, stage=self._stage, on_exit=on_exit)

    def _submit(self) -> None:
        self._stage.begin(self.worker.process)

    def _close_child_ends(self) -> None:
        self.worker.process.die()


class AtOnce(Executor):
    """Runs what it is given in its caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is told to whoever asks for the result
            done.set_exception(error)
        return done


def _nothing(_: Process) -> None:
    """Nobody wants to know."""


def _no_release() -> None:
    """It has no files, and no executor."""
