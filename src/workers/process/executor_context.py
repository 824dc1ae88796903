"""What a `ProcessPoolExecutor` gets so that its process comes from the fork server and sends it nothing.

The executor would unpickle what its process writes, and so run code of the model in the gateway. Here the
process has nothing to write to, and what arrives all the same ends it.
"""

from __future__ import annotations

import os
import threading
import weakref
from multiprocessing.connection import Pipe
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final, NoReturn

from workers.forkserver.received import NoResults, new_lock, new_semaphore
from workers.process.descriptors import wait_readable
from workers.process.order import PickledOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection

    from workers.process.forkserver import ForkedProcess, ForkServer

_EXIT_CODE_BYTES: Final = 4
_UNKNOWN_EXIT_CODE: Final = 255


class ExecutorContext(BaseContext):
    """The multiprocessing context of an executor of one process."""

    def __init__(
        self,
        forkserver: ForkServer,
        *,
        output: int,
        on_start: Callable[[ForkedProcess], None],
        kill: Callable[[], None],
    ) -> None:
        """`output` is the process' standard output.

        `on_start` is called with the process that was started, in the thread that submits the executor's
        call, and owns its pidfd. `kill` ends that process, from any thread.
        """
        self._forkserver = forkserver
        self._output = output
        self._on_start = on_start
        self._kill = kill

    def get_context(self, method: str | None = None) -> Any:
        """Return this context."""
        del method
        return self

    def get_start_method(self, allow_none: bool = False) -> str:
        """Return what tells the executor that a process may be started at any time."""
        del allow_none
        return "forkserver"

    def Process(self, *, target: Callable[..., object], args: Iterable[Any]) -> ExecutorProcess:  # noqa: N802 - as the base class has it
        """Return the executor's process, which is not started yet."""
        return ExecutorProcess(self._start, self._kill, target, tuple(args))

    def SimpleQueue(self) -> ResultQueue:  # type: ignore[override] # noqa: N802 - as the base class has it
        """Return the queue of results."""
        return ResultQueue()

    def Lock(self) -> _ThreadLock:  # type: ignore[override] # noqa: N802 - as the base class has it
        """Return a lock for this process alone: the queue of calls has one reader, and one writer."""
        return _ThreadLock()

    def BoundedSemaphore(self, value: int = 1) -> _ThreadSemaphore:  # type: ignore[override] # noqa: N802 - as the base class has it
        """Return a semaphore for this process alone: it counts two calls, and there is only one."""
        return _ThreadSemaphore(value)

    def _start(self, order: PickledOrder) -> ForkedProcess:
        process = self._forkserver.start(order, self._output)
        self._on_start(process)
        return process


class ExecutorProcess:
    """A process as an executor uses it; the watcher of the worker learns of its exit by other means."""

    def __init__(
        self,
        start: Callable[[PickledOrder], ForkedProcess],
        kill: Callable[[], None],
        target: Callable[..., object],
        arguments: tuple[Any, ...],
    ) -> None:
        self._start = start
        self._call = target, arguments
        self.terminate = self.kill = kill
        self.pid: int | None = None
        self.sentinel = -1
        self.exitcode: int | None = None

    def start(self) -> None:
        """Start the process. Blocks. Raises OSError or EOFError, as `ForkServer.start` does."""
        target, arguments = self._call
        process = self._start(PickledOrder.of(target, *arguments))
        self.pid, self.sentinel = process.pid, process.sentinel
        weakref.finalize(self, os.close, process.sentinel)

    def is_alive(self) -> bool:
        """Return whether the process is not known to have ended."""
        self.join(0)
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, or `timeout` seconds."""
        if self.pid is not None and self.exitcode is None and wait_readable(self.sentinel, timeout):
            code = os.read(self.sentinel, _EXIT_CODE_BYTES)
            self.exitcode = int.from_bytes(code, "little", signed=True) if code else _UNKNOWN_EXIT_CODE


class ResultQueue:
    """A queue of results that never gets one: the process has no descriptor of it."""

    def __init__(self) -> None:
        reader, self._writer = Pipe(duplex=False)
        self._reader = _DeafReader(reader)

    def __reduce__(self) -> tuple[type[NoResults], tuple[()]]:
        """Return what takes this queue's place in the process."""
        return NoResults, ()

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()


class _DeafReader:
    """An end of a pipe that can be waited for, but not read: bytes here mean an attack, or a fault."""

    def __init__(self, reader: Connection) -> None:
        self._reader = reader
        self.fileno = reader.fileno
        self.close = reader.close

    def recv(self) -> NoReturn:
        """Raise, whereupon the executor ends its process."""
        raise EOFError("bytes came through a queue that no process may write to")


class _ThreadLock:
    """A lock that is a new one in the process."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self.acquire, self.release = lock.acquire, lock.release

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return new_lock, ()


class _ThreadSemaphore(threading.BoundedSemaphore):
    """A semaphore that is a new one in the process. The queue of calls asks `_semlock` whether it is full."""

    @property
    def _semlock(self) -> _ThreadSemaphore:
        return self

    def _is_zero(self) -> bool:
        return self._value == 0

    def __reduce__(self) -> tuple[Callable[[], threading.Semaphore], tuple[()]]:
        return new_semaphore, ()
