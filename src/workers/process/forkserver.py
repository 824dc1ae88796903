"""The fork server: a process that has imported what workers need, and that workers are forked from."""

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

_ENTRY_PACKAGE: Final = "workers.runtime.preload"
_PROBE_TIMEOUT_SECONDS: Final = 10.0
_SPARE_PIPES: Final = 8  # of two descriptors each: more than a start needs


class ForkServer:
    """A handle on multiprocessing's fork server, and on the environment that workers see.

    There is one server per Python process. It ends with this process, and the workers end with it: see
    `workers.runtime.isolation`. multiprocessing starts another server when it finds that the last one ended.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        preload: Preload = "full",
        fork_timeout_seconds: float = 60.0,
    ) -> None:
        """Set how the next server is started.

        `environment` is the whole environment that workers see; None passes on this process' own.
        `preload` is what the server imports. A fork that takes longer than `fork_timeout_seconds`, imports
        included, ends the server.
        """
        if environment is not None:
            _set_child_environment(environment)
        self.fork_timeout_seconds = fork_timeout_seconds
        self.spawn_health = SpawnHealth()
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([f"{_ENTRY_PACKAGE}.{preload}"])

    def ensure_running(self) -> None:
        """Start the server if it does not run. Returns at once; the server imports in the background."""
        forkserver.ensure_running()

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it was never started."""
        server: Any = forkserver._forkserver  # noqa: SLF001 - no public function returns it
        pid: int | None = server._forkserver_pid  # noqa: SLF001 - as above
        return pid

    def is_alive(self, pid: int | None) -> bool:
        """Return whether the server still is the process `pid`, and runs.

        A server that ended is left for multiprocessing to reap.
        """
        if pid is None or pid != self.pid:
            return False
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def kill(self) -> None:
        """Kill the server and so all workers; multiprocessing starts another one for the next start."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def probe_spawn(self) -> None:
        """Start a process that does nothing, and wait until it ends. Blocks.

        Raises OSError or EOFError if no process can be started.
        """
        check_free_descriptors()
        process = self.context.Process(target=_noop)
        process.start()
        process.join(_PROBE_TIMEOUT_SECONDS)
        process.kill()
        process.join()
        process.close()


def check_free_descriptors() -> None:
    """Raise OSError if fewer descriptors are free than a start needs, which would fail half-way."""
    with ExitStack() as spare:
        for _ in range(_SPARE_PIPES):
            for descriptor in os.pipe():
                spare.callback(os.close, descriptor)


def _noop() -> None:
    """Do nothing, in the process of a probe."""


def _set_child_environment(environment: Mapping[str, str]) -> None:
    """Make every process that is started from here on inherit `environment`, and nothing else.

    multiprocessing lets no caller choose the server's environment, and may restart the server at any time
    in any thread. So the environment that C sees is changed. `os.environ`, Python's copy of it, is not:
    this process' own libraries still find their credentials there.
    """
    for name in os.environ:
        if name not in environment:
            os.unsetenv(name)
    for name, value in environment.items():
        os.putenv(name, value)
