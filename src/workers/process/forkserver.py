"""The template process: it has imported everything heavy, and each worker is a fork of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import ExitStack, suppress
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any, Final

from workers.spawn_health import SpawnHealth

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.context import ForkServerContext

    from workers.limits import Preload

PRELOAD = ["workers.runtime.preload"]
_PROBE_TIMEOUT_SECONDS = 10.0
_SPARE_PIPES: Final = 8  # of two descriptors: more than a start needs


class ForkServer:
    """Owns multiprocessing's fork server and the environment that workers see.

    The server is one per Python process; it ends when this process does, and takes the workers
    with it (each asks the kernel for that, see `workers.child`). multiprocessing starts another one
    whenever it finds that the last has died.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        preload: Preload = "full",
        fork_timeout_seconds: float = 60.0,
    ) -> None:
        """`environment` is all that workers see of the environment; None leaves them this process' own."""
        self.preload = preload
        self.fork_timeout_seconds = fork_timeout_seconds
        if environment is not None:
            _set_child_environment(environment)
        self.spawn_health = SpawnHealth()
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)

    def ensure_running(self) -> None:
        """Start the template where it does not run; returns at once, the imports go on behind."""
        forkserver.ensure_running()

    @property
    def pid(self) -> int | None:
        """The template's process id; None where it was not started yet."""
        server: Any = forkserver._forkserver  # noqa: SLF001 - nothing public tells it
        pid: int | None = server._forkserver_pid  # noqa: SLF001 - as above
        return pid

    def is_alive(self, pid: int | None) -> bool:
        """Whether it is the same process as before, and runs; multiprocessing sees a death all the same."""
        if pid is None or pid != self.pid:
            return False
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def kill(self) -> None:
        """End the template, and all workers with it: another one is started when it is needed."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def probe_spawn(self) -> None:
        """Start a process that does nothing, and wait for its end; raises OSError or EOFError. Blocks."""
        check_free_descriptors()
        process = self.context.Process(target=_noop)
        process.start()
        process.join(_PROBE_TIMEOUT_SECONDS)
        process.kill()
        process.join()
        process.close()


def check_free_descriptors() -> None:
    """Raise OSError where there are too few for a start, which would be broken off half-way."""
    with ExitStack() as spare:
        for _ in range(_SPARE_PIPES):
            for descriptor in os.pipe():
                spare.callback(os.close, descriptor)


def _noop() -> None:
    """All that a process on trial does."""


def _set_child_environment(environment: Mapping[str, str]) -> None:
    """Let every process that is started from here on inherit `environment`, and nothing else.

    The fork server takes no environment of its own, and may be started anew at any time by any
    thread. What C and a new process see is changed; `os.environ`, which is Python's copy, is not,
    so that this process' own libraries find their credentials still.
    """
    for name in os.environ:
        if name not in environment:
            os.unsetenv(name)
    for name, value in environment.items():
        os.putenv(name, value)
