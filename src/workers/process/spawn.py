"""Start one worker process by the fork server of its environment."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from workers.process.direct_start import DirectStart
from workers.process.executor_start import ExecutorStart
from workers.process.output import OutputLog
from workers.process.worker import ProcessWorker
from workers.runtime import tempdir

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workers.process.channel import ReplyCallback
    from workers.process.forkserver import ForkedProcess, ForkServer
    from workers.protocol.messages import ModelSource


class Spawn:
    """One start of a process by the fork server, and what has to be freed when that process has ended.

    Workers of the gateway's own environment are started by an executor, others by an order.
    """

    def __init__(
        self, source: ModelSource, *, forkserver: ForkServer, on_exit: Callable[[ProcessWorker], None]
    ) -> None:
        """Open sockets and pipes, and watch for the process. Raises OSError if no descriptor is left."""
        self._loop = asyncio.get_running_loop()
        self._forkserver = forkserver
        self._forking: asyncio.Future[None] | None = None
        self._process: ForkedProcess | None = None
        self._tempdir = forkserver.new_tempdir()
        with ExitStack() as undo:
            self._parent_socket, self._child_socket = map(undo.enter_context, socket.socketpair())
            output, self._child_output = os.pipe()
            for descriptor in (output, self._child_output):
                undo.callback(os.close, descriptor)
            self._start = self._new_start(source)
            undo.pop_all()
        self._output = OutputLog(output, {"event": "model_output", "model": str(source.key)})
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

    def _new_start(self, source: ModelSource) -> ExecutorStart | DirectStart:
        if source.environment is not None:
            return DirectStart(
                source,
                self._forkserver,
                sock=self._child_socket,
                output=self._child_output,
                tempdir_path=self._tempdir,
                on_start=self._on_start,
            )
        return ExecutorStart(
            source,
            self._forkserver,
            sock=self._child_socket,
            output=self._child_output,
            tempdir_path=self._tempdir,
            on_start=self._on_start,
            kill=self._kill_threadsafe,
        )

    def _submit(self) -> None:
        """Start the process. Blocks until the fork server has forked."""
        try:
            self._loop.call_soon_threadsafe(self._kill_forkserver_on_timeout)
            self._start.start()
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
            timer = self._loop.call_later(self._forkserver.start_seconds, self._forkserver.end_hung)
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
            self._start.close()
        else:  # `_submit` still holds the executor's lock
            self._forking.add_done_callback(lambda _: self._start.close())
        self._loop.run_in_executor(None, tempdir.remove, self._tempdir)
