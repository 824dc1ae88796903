"""The parent's handle on one warm process: start, run a batch, notice its death, end it."""

from __future__ import annotations

import asyncio
import errno
import socket
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from workers.errors import ModelLoadError, SystemResourcesExhausted, WorkerCrashed
from workers.process.channel import Channel
from workers.process.forkserver import check_free_descriptors
from workers.process.watcher import ProcessWatcher
from workers.protocol.messages import Failure, LoadReport
from workers.runtime import main, tempdir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from workers.process.channel import BatchOutcome, ReplyCallback
    from workers.process.forkserver import ForkServer
    from workers.protocol.messages import ModelSource, WorkerRequest

_EXIT_SETTLE_SECONDS = 0.05  # for what the process had answered before it died to be read
_EXIT_TIMEOUT_SECONDS = 5.0  # for an idle process to end by itself
_NO_THREAD_MESSAGE: Final = "can't start new thread"  # CPython has no type of its own for it
_EXHAUSTION_ERRNOS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS})


class WorkerStartFailed(ModelLoadError):
    """The process could not be started, or ended as it loaded: perhaps the template died, not the model."""


class ProcessWorker:
    """A `ProcessPoolExecutor` of one process that holds one model version.

    The executor loads the model in its initializer, and its one call answers batches until the worker
    is closed. They travel over a socket of the worker's own: through the executor's queues each would
    take three threads in turn, for which the event loop has to wait, and its answer would be unpickled.
    Executors are not shared between workers: one dead process breaks every call of its executor for
    ever, and a running call cannot be cancelled but by killing its process.
    """

    def __init__(
        self, source: ModelSource, *, forkserver: ForkServer, on_exit: Callable[[ProcessWorker], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._forkserver = forkserver
        self._channel: Channel | None = None
        self._spawning: asyncio.Future[None] | None = None
        self._tempdir = tempdir.new_path()
        with ExitStack() as undo:
            self._parent_socket, self._child_socket = map(undo.enter_context, socket.socketpair())
            receiver, self._child_pipe = map(undo.enter_context, forkserver.context.Pipe(duplex=False))
            self._executor = ProcessPoolExecutor(
                1,
                mp_context=forkserver.context,
                initializer=main.initialize,
                initargs=(source, self._child_pipe, self._child_socket, self._tempdir),
            )
            undo.pop_all()
        self._watcher = ProcessWatcher(receiver, on_exit=self._handle_exit)
        self.load_report = LoadReport(0.0)

    @classmethod
    async def start(
        cls,
        source: ModelSource,
        *,
        forkserver: ForkServer,
        spawn_executor: Executor,
        seconds: float,
        on_exit: Callable[[ProcessWorker], None],
    ) -> ProcessWorker:
        """A worker with the model of `source` loaded; `died` is called once when its process ends.

        `starter` is where the start may block. Raises LoadFailed where the load raises, takes
        longer than `seconds` from the fork on, or ends the process; NoMeans where the system has none
        left for it. Cancelling ends the process.
        """
        try:
            worker = cls(source, forkserver=forkserver, on_exit=on_exit)
        except OSError as error:
            raise _spawn_error(error, forkserver_alive=False) from error
        try:
            worker.load_report = await worker._load(spawn_executor, seconds=seconds)
        except BaseException:
            await worker.kill()
            raise
        return worker

    @property
    def pid(self) -> int:
        """The process' id, once it is loaded."""
        return self._watcher.pid or 0

    @property
    def dead(self) -> bool:
        """Whether the process is known to have ended."""
        return self._watcher.dead.is_set()

    @property
    def connected(self) -> bool:
        """Whether it can be given a batch: its socket may have ended before its death is known."""
        return self._channel is not None and self._channel.connected

    def send_batch(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        """Give the process a batch; `hear` is called once, later.

        It is told one answer for each, in order, and the seconds that the process took for all of them;
        or WorkerDied where the process ends before it answers.
        """
        if self._channel is None:
            self._loop.call_soon(on_reply, WorkerCrashed("The worker's process ended."))
        else:
            self._channel.send(requests, on_reply)

    async def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._watcher.kill()
        await self._watcher.dead.wait()
        self._abort_channel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """Let the process end by itself; kill it where it does not."""
        if self._channel is not None:
            self._channel.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_TIMEOUT_SECONDS):
                await self._watcher.dead.wait()
        await self.kill()

    async def _load(self, spawn_executor: Executor, *, seconds: float) -> LoadReport:
        report: asyncio.Future[LoadReport | Failure] = self._loop.create_future()
        report.add_done_callback(
            _retrieve_exception
        )  # whoever is told of the death later finds that nobody waits
        template = self._forkserver.pid
        try:
            await self._wait_forked(await self._begin_spawn(spawn_executor, report))
            async with asyncio.timeout(seconds):
                told = await report
        except TimeoutError as error:
            raise ModelLoadError(f"Loading the model took longer than {seconds:g} s.") from error
        except WorkerCrashed as error:
            raise WorkerStartFailed("The process ended while it loaded the model.") from error
        except (OSError, EOFError, RuntimeError) as error:
            if not _is_spawn_error(error):
                raise
            self._forkserver.spawn_health.record(succeeded=False)
            await asyncio.sleep(
                _EXIT_SETTLE_SECONDS
            )  # a template that dies closes its ends before it is dead
            raise _spawn_error(error, forkserver_alive=self._forkserver.is_alive(template)) from error
        finally:
            report.cancel()
        if isinstance(told, Failure):
            raise ModelLoadError(told.message, log=told.log)
        return told

    async def _wait_forked(self, spawn: asyncio.Future[None]) -> None:
        """Wait for the fork, which the model's time for its load does not begin before."""
        await asyncio.wait([spawn])
        spawn.result()
        self._forkserver.spawn_health.record(succeeded=True)

    async def _begin_spawn(
        self, spawn_executor: Executor, report: asyncio.Future[LoadReport | Failure]
    ) -> asyncio.Future[None]:
        """The start of the process, which closes what tells of the death, so that it must run to its end."""
        try:
            self._channel = await Channel.connect(self._parent_socket, on_lost=self._watcher.kill)
            self._channel.expect_reply(partial(_on_load_report, report))
            self._spawning = self._loop.run_in_executor(spawn_executor, self._spawn)
        except BaseException:
            self._close_child_ends()
            raise
        self._spawning.add_done_callback(_retrieve_exception)
        return self._spawning

    def _spawn(self) -> None:
        """Start the process, which blocks until the template has forked."""
        try:
            self._loop.call_soon_threadsafe(self._kill_forkserver_on_timeout)
            check_free_descriptors()
            self._executor.submit(main.serve)
        finally:
            self._close_child_ends()

    def _kill_forkserver_on_timeout(self) -> None:
        """End a template that hangs, since nothing else ends the wait for it, whoever waits.

        multiprocessing starts another with the next start; the workers of the old one end with it.
        """
        if (spawn := self._spawning) is not None and not spawn.done():
            hung = self._loop.call_later(self._forkserver.fork_timeout_seconds, self._forkserver.kill)
            spawn.add_done_callback(lambda _: hung.cancel())

    def _close_child_ends(self) -> None:
        """Close the child's ends, of which it has its own: ours would hide its death."""
        self._child_pipe.close()
        self._child_socket.close()

    def _handle_exit(self) -> None:
        # What had been answered in time is in the socket still. A process that the model started may
        # hold the socket open, so that its end is not waited for.
        self._loop.call_later(_EXIT_SETTLE_SECONDS, self._release_resources)
        self._on_exit(self)

    def _release_resources(self) -> None:
        """Let go of everything of a process that has died: its pipes would stay open until collected."""
        self._abort_channel()
        self._remove_tempdir()
        if self._spawning is None:
            self._shut_down_executor()
        else:  # a start that still runs holds the executor's lock
            self._spawning.add_done_callback(self._shut_down_executor)

    def _remove_tempdir(self) -> None:
        self._loop.run_in_executor(None, tempdir.remove, self._tempdir)

    def _shut_down_executor(self, _: asyncio.Future[None] | None = None) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _abort_channel(self) -> None:
        if self._channel is not None:
            self._channel.abort()


def _is_spawn_error(error: Exception) -> bool:
    """EOFError: the template died or cannot fork; RuntimeError: the process died, or there is no thread."""
    return (
        not isinstance(error, RuntimeError)
        or isinstance(error, BrokenProcessPool)
        or _is_out_of_threads(error)
    )


def _is_out_of_threads(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and _NO_THREAD_MESSAGE in str(error)


def _spawn_error(error: Exception, *, forkserver_alive: bool) -> WorkerStartFailed | SystemResourcesExhausted:
    """What it means that no process could be started; `survived` tells that it is not the template's end."""
    if isinstance(error, OSError) and error.errno in _EXHAUSTION_ERRNOS:
        return SystemResourcesExhausted(f"No process could be started for the model: {error.strerror}.")
    if forkserver_alive or _is_out_of_threads(error):
        return SystemResourcesExhausted(
            "No process could be started for the model: the system has none left."
        )
    return WorkerStartFailed("No process could be started for the model.", log=repr(error))


def _on_load_report(report: asyncio.Future[LoadReport | Failure], outcome: BatchOutcome) -> None:
    """What the process says first: how the load went."""
    if report.done():
        return
    if isinstance(outcome, WorkerCrashed):
        report.set_exception(outcome)
        return
    told = outcome[0][0] if outcome[0] else None
    if isinstance(told, LoadReport | Failure):
        report.set_result(told)
    else:
        report.set_exception(WorkerCrashed("The worker did not say how its load went."))


def _retrieve_exception(outcome: asyncio.Future[Any]) -> None:
    """Take note of a failure, which whoever waited for it has met; or nobody waits any more."""
    if not outcome.cancelled():
        outcome.exception()
