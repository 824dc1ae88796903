"""Start a worker's process over a `ProcessPoolExecutor`: the workers of the gateway's own environment."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from workers.process.executor_context import ExecutorContext
from workers.runtime import main

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from workers.process.forkserver import ForkedProcess, ForkServer
    from workers.protocol.messages import ModelSource


class ExecutorStart:
    """A start by an executor of one process.

    It prepares the process in its initializer, and its one call loads the model and answers batches until
    the worker is closed. Batches take a socket: through the executor's queues each would wait for three
    threads in turn, and the gateway would unpickle the replies. Workers do not share an executor: one dead
    process breaks it for good, and a running call can be cancelled only by killing its process.
    """

    def __init__(
        self,
        source: ModelSource,
        forkserver: ForkServer,
        *,
        sock: socket.socket,
        output: int,
        tempdir_path: str,
        on_start: Callable[[ForkedProcess], None],
        kill: Callable[[], None],
    ) -> None:
        """`sock` and `output` are the child's ends. `kill` ends the process, from any thread."""
        context = ExecutorContext(forkserver, output=output, on_start=on_start, kill=kill)
        self._executor: ProcessPoolExecutor | None = ProcessPoolExecutor(
            1,
            mp_context=context,
            initializer=main.initialize,
            initargs=(source, sock, tempdir_path, forkserver.wall),
        )

    def start(self) -> None:
        """Give the executor its one call. Blocks until the fork server has forked."""
        if self._executor is not None:
            self._executor.submit(main.serve)

    def close(self) -> None:
        """Free the executor. Waits for a start that runs."""
        executor, self._executor = self._executor, None  # which refers to this object
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
