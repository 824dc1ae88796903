"""Start a worker's process by an order of our own: the workers of other environments.

The messages of an executor are pickled in a form that changes with each version of Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from workers.process.order import plain_order
from workers.runtime import environment_worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from workers.process.forkserver import ForkedProcess, ForkServer
    from workers.protocol.messages import ModelSource


class DirectStart:
    """A start by an order to the fork server."""

    def __init__(
        self,
        source: ModelSource,
        forkserver: ForkServer,
        *,
        sock: socket.socket,
        output: int,
        tempdir_path: str,
        on_start: Callable[[ForkedProcess], None],
    ) -> None:
        """`sock` and `output` are the child's ends; `on_start` owns what the process is watched by."""
        text = environment_worker.to_text(source, tempdir_path, forkserver.wall)
        self._order = plain_order(environment_worker.run, text, (sock.fileno(),))
        self._forkserver = forkserver
        self._output = output
        self._on_start = on_start

    def start(self) -> None:
        """Have the process forked. Blocks."""
        process = self._forkserver.start(self._order, self._output)
        os.close(process.sentinel)  # how it ended does not matter here
        self._on_start(process)

    def close(self) -> None:
        """Do nothing: only the process is left, and it is watched."""
