"""Start one worker process by the fork server, over a `ProcessPoolExecutor`."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from workers.process.forkserver import check_free_descriptors
from workers.process.worker import ProcessWorker
from workers.runtime import main, tempdir

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workers.process.channel import ReplyCallback
    from workers.process.forkserver import ForkServer
    from workers.protocol.messages import ModelSource


class Spawn:
    """One start of a process by the fork server, and what has to be freed when that process has ended.

    An executor of one process loads the model in its initializer, and its one call answers batches until
    the worker is closed. Batches take a socket: through the executor's queues each would wait for three
    threads in turn, and the gateway would unpickle the replies. Workers do not share an executor: one dead
    process breaks it for good, and a running call can be cancelled only by killing its process.
    """

    def __init__(
        self, source: ModelSource, *, forkserver: ForkServer, on_exit: Callable[[ProcessWorker], None]
    ) -> None:
        """Open sockets and pipes, and watch for the process. Raises OSError if no descriptor is left."""
        self._loop = asyncio.get_running_loop()
        self._forkserver = forkserver
        self._forking: asyncio.Future[None] | None = None
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
        self.worker = ProcessWorker(receiver, on_exit=on_exit, release=self._release)

    async def fork(self, spawn_executor: Executor, on_load_report: ReplyCallback) -> None:
        """Have a thread of `spawn_executor` start the process, and wait until it is forked.

        `on_load_report` is called with the outcome of its load. Raises what multiprocessing raises.
        Cancelling leaves the thread to run: its end closes the pipe that reports the exit.
        """
        try:
            await self.worker.connect(self._parent_socket, on_load_report)
            self._forking = self._loop.run_in_executor(spawn_executor, self._submit)
        except BaseException:
            self._close_child_ends()
            raise
        self._forking.add_done_callback(_retrieve_exception)
        await asyncio.wait([self._forking])
        self._forking.result()

    def _submit(self) -> None:
        """Give the executor its one call. Blocks until the fork server has forked."""
        try:
            self._loop.call_soon_threadsafe(self._kill_forkserver_on_timeout)
            check_free_descriptors()
            self._executor.submit(main.serve)
        finally:
            self._close_child_ends()

    def _kill_forkserver_on_timeout(self) -> None:
        """Kill a fork server that hangs: nothing else ends the wait for it.

        multiprocessing starts another one for the next start. The workers of the old one end with it.
        """
        if (forking := self._forking) is not None and not forking.done():
            timer = self._loop.call_later(self._forkserver.fork_timeout_seconds, self._forkserver.kill)
            forking.add_done_callback(lambda _: timer.cancel())

    def _close_child_ends(self) -> None:
        """Close this process' copies of the child's ends, which would hide the child's exit."""
        self._child_pipe.close()
        self._child_socket.close()

    def _release(self) -> None:
        self._loop.run_in_executor(None, tempdir.remove, self._tempdir)
        if self._forking is None or self._forking.done():
            self._shut_down_executor()
        else:  # `_submit` still holds the executor's lock
            self._forking.add_done_callback(self._shut_down_executor)

    def _shut_down_executor(self, _: asyncio.Future[None] | None = None) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _retrieve_exception(future: asyncio.Future[None]) -> None:
    """Mark the exception as retrieved: a cancelled start leaves nothing that waits for it."""
    if not future.cancelled():
        future.exception()
