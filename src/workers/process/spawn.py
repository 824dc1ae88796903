"""Start one worker process by the fork server, over a `ProcessPoolExecutor`."""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from workers.process.executor_context import ExecutorContext
from workers.process.output import WorkerOutput
from workers.process.worker import ProcessWorker
from workers.runtime import main, tempdir

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workers.process.channel import ReplyCallback
    from workers.process.forkserver import ForkedProcess, ForkServer
    from workers.protocol.messages import ModelSource


class Spawn:
    """One start of a process by the fork server, and what has to be freed when that process has ended.

    An executor of one process prepares it in its initializer, and its one call loads the model and answers
    batches until the worker is closed. Batches take a socket: through the executor's queues each would wait
    for three threads in turn, and the gateway would unpickle the replies. Workers do not share an executor:
    one dead process breaks it for good, and a running call can be cancelled only by killing its process.
    """

    def __init__(
        self, source: ModelSource, *, forkserver: ForkServer, on_exit: Callable[[ProcessWorker], None]
    ) -> None:
        """Open sockets and pipes, and watch for the process. Raises OSError if no descriptor is left."""
        self._loop = asyncio.get_running_loop()
        self._forkserver = forkserver
        self._forking: asyncio.Future[None] | None = None
        self._process: ForkedProcess | None = None
        self._tempdir = tempdir.new_path()
        with ExitStack() as undo:
            self._parent_socket, self._child_socket = map(undo.enter_context, socket.socketpair())
            output, self._child_output = os.pipe()
            for descriptor in (output, self._child_output):
                undo.callback(os.close, descriptor)
            context = ExecutorContext(
                forkserver, output=self._child_output, on_start=self._on_start, kill=self._kill_threadsafe
            )
            self._executor: ProcessPoolExecutor | None = ProcessPoolExecutor(
                1,
                mp_context=context,
                initializer=main.initialize,
                initargs=(source, self._child_socket, self._tempdir, forkserver.wall),
            )
            undo.pop_all()
        self._output = WorkerOutput(output, source.key)
        self.worker = ProcessWorker(on_exit=on_exit, release=self._release)

    async def fork(self, spawn_executor: Executor, on_load_report: ReplyCallback) -> None:
        """Have a thread of `spawn_executor` start the process, and wait until it is forked.

        `on_load_report` is called with the outcome of its load. Raises what `ForkServer.start` raises.
        Cancelling leaves the thread to run: the worker is watched when it ends.
        """
        try:
            await self.worker.connect(self._parent_socket, on_load_report)
            self._forking = self._loop.run_in_executor(spawn_executor, self._submit)
        except BaseException:
            self._close_child_ends()
            self.worker.watcher.never_started()
            raise
        self._forking.add_done_callback(self._watch)
        await asyncio.wait([self._forking])
        self._forking.result()

    def _submit(self) -> None:
        """Give the executor its one call. Blocks until the fork server has forked."""
        try:
            self._loop.call_soon_threadsafe(self._kill_forkserver_on_timeout)
            if self._executor is not None:
                self._executor.submit(main.serve)
        finally:
            self._close_child_ends()

    def _on_start(self, process: ForkedProcess) -> None:
        self._process = process

    def _watch(self, forking: asyncio.Future[None]) -> None:
        """Watch the process from here on, even if the start failed after it or was cancelled."""
        if not forking.cancelled():
            forking.exception()  # mark it as retrieved: a cancelled start leaves nothing that waits for it
        self._close_child_ends()  # if the thread never ran
        if self._process is None:
            self.worker.watcher.never_started()
        else:
            self._output.set_pid(self._process.pid)
            self.worker.watcher.watch(self._process)

    def _kill_forkserver_on_timeout(self) -> None:
        """Kill a fork server that hangs: nothing else ends the wait for it.

        The next start begins another one. The workers of the old one end with it.
        """
        if (forking := self._forking) is not None and not forking.done():
            timer = self._loop.call_later(self._forkserver.fork_timeout_seconds, self._forkserver.kill)
            forking.add_done_callback(lambda _: timer.cancel())

    def _kill_threadsafe(self) -> None:
        """Kill the process; the executor does so when it gets bytes that it must not get."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.worker.watcher.kill)

    def _close_child_ends(self) -> None:
        """Close this process' copies of the child's ends, which would hide the child's exit."""
        self._child_socket.close()
        if self._child_output >= 0:
            os.close(self._child_output)
            self._child_output = -1

    def _release(self) -> None:
        self._output.close()
        if self._forking is None or self._forking.done():
            self._shut_down_executor()
        else:  # `_submit` still holds the executor's lock
            self._forking.add_done_callback(self._shut_down_executor)
        self._loop.run_in_executor(None, tempdir.remove, self._tempdir)

    def _shut_down_executor(self, _: asyncio.Future[None] | None = None) -> None:
        executor, self._executor = self._executor, None  # which refers to this object
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
