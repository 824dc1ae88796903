"""The gateway's handle on the fork server of an environment, whose packages may be hostile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workers.errors import EnvironmentBroken, EnvironmentStartTimeout
from workers.forkserver.environment_start import NOT_CONFINED
from workers.forkserver.keeper import SIGNALLED
from workers.process import process_tree
from workers.process.forkserver import ForkServer
from workers.process.running_forkserver import PROGRAM, RunningForkServer
from workers.runtime import tempdir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workers.process.order import PickledOrder
    from workers.wall.policy import WallPolicy
    from workers.worker_environment import WorkerEnvironment

_PACKAGE_NAME: Final = re.compile(r"\w{1,100}", re.ASCII)
_NO_FAULT_OF_ITS_OWN: Final = frozenset({SIGNALLED + 9, SIGNALLED + 15, NOT_CONFINED})  # SIGKILL: no memory
_MAX_LOG_CHARACTERS: Final = 1_000
_EVENT_PAUSE_SECONDS: Final = 0.02
_OWN_EXIT_SECONDS: Final = 1.0  # for the keeper to end with the server
_KEEPER_SECONDS: Final = 8.0


class EnvironmentForkServer(ForkServer):
    """A handle on the fork server of one environment, in a process that is confined before it starts.

    `pid` is the process id of the server's keeper, which is the gateway's child: the server is below that,
    and the workers are below the server. What the server tells is checked, because its packages can make it
    tell anything.
    """

    def __init__(
        self,
        environment: WorkerEnvironment,
        variables: Mapping[str, str] | None,
        *,
        wall: WallPolicy,
        fork_timeout_seconds: float,
        load_seconds: Callable[[], float],
        on_output: Callable[[int], None],
    ) -> None:
        """`variables` are those of the workers.

        The server's own start may take `load_seconds()`: the first one in an environment writes the bytecode
        of its packages. `on_output` gets the end of a pipe that has what a server writes.
        """
        super().__init__(variables, wall=wall, fork_timeout_seconds=fork_timeout_seconds)
        self.environment = environment
        self.entry_module = "workers.runtime.preload.environment"
        self._load_seconds = load_seconds
        self._on_output = on_output
        self._tempdir: str | None = None

    def new_tempdir(self) -> str:
        """Return a path below the only folder that the server and its workers may write to."""
        return str(Path(self._own_tempdir(), Path(tempdir.new_path()).name))

    @property
    def start_seconds(self) -> float:
        """How long a start may take now: while the server itself starts, as long as a load."""
        return self.fork_timeout_seconds if self.is_ready else self._load_seconds()

    def end_hung(self) -> None:
        """Kill the server because a start took longer than `start_seconds`."""
        server = self._server
        if isinstance(server, _RunningServer) and not server.ready.is_set():
            server.hung = True
        self.kill()

    def close(self) -> None:
        """End the server and all below it, wait until they have ended, and remove temporary files. Blocks."""
        super().close()
        with self._lock:
            folder, self._tempdir = self._tempdir, None
        if folder is not None:
            tempdir.remove(folder)

    def _own_tempdir(self) -> str:
        if self._tempdir is None:
            self._tempdir = tempfile.mkdtemp(prefix="environment-")
        return self._tempdir

    def _run_server(self) -> RunningForkServer:
        environment = self.environment
        wall = replace(self.wall, models=(environment.model,)) if environment.private else self.wall
        setup = {
            "python": environment.python,
            "preload": self.entry_module,
            "temporary": self._own_tempdir(),
            "wall": asdict(wall),
        }
        return _RunningServer(self._environment, setup, self._handle_event, self._on_output)

    def _order(self, order: PickledOrder, reports: tuple[int, int]) -> tuple[int, int | None]:
        try:
            pid, pidfd = super()._order(order, reports)
        except EOFError as error:
            if isinstance(server := self._server, _RunningServer) and (fault := self._fault(server)):
                raise fault from error
            raise
        if process_tree.IS_KNOWN:
            try:
                self._check(pid, pidfd)
            except EOFError:
                if pidfd is not None:
                    os.close(pidfd)
                raise
        return pid, pidfd

    def _check(self, pid: int, pidfd: int | None) -> None:
        """Raise EOFError unless a process is below the server, and the descriptor's: it may be killed later.

        A server that names another one is ended.
        """
        server = process_tree.parent(pid)
        named = pid if pidfd is None else process_tree.pid_of(pidfd)
        if server == 0 or named == process_tree.ENDED:
            raise EOFError("the process has ended")
        if process_tree.parent(server) != self.pid or named != pid:
            self.kill()
            raise EOFError("the fork server named a process that is not its own")

    def _fault(self, server: _RunningServer) -> EnvironmentBroken | EnvironmentStartTimeout | None:
        """Return why nothing can run in the environment, if that is why the server ended."""
        if server.hung:
            return EnvironmentStartTimeout("The model's Python environment took too long to start.")
        if server.failure is not None:
            package = str(server.failure.get("package"))
            log = str(server.failure.get("text"))[:_MAX_LOG_CHARACTERS]
            if not _PACKAGE_NAME.fullmatch(package):
                package = ""
            what = package or "what each worker needs"
            message = f"The model's Python environment cannot import {what}."
        elif not server.ready.is_set() and server.process.returncode not in _NO_FAULT_OF_ITS_OWN:
            package, log = "", f"exit code {server.process.returncode}"
            message = "The model's Python environment ends as it starts."
        else:
            return None
        return EnvironmentBroken(message, digest=self.environment.digest, package=package, log=log)


class _RunningServer(RunningForkServer):
    """A process of the fork server with its keeper, which ends both when this pipe is closed."""

    def __init__(
        self,
        variables: Mapping[str, str] | None,
        setup: Mapping[str, Any],
        on_event: Callable[[Mapping[str, Any]], None],
        on_output: Callable[[int], None],
    ) -> None:
        self.failure: Mapping[str, Any] | None = None
        self.hung = False
        self._hang_up_lock = threading.Lock()
        keepers_end, self._alive = os.pipe()
        output, servers_output = os.pipe()
        try:
            super().__init__(
                [sys.executable, "-I", "-S", PROGRAM, "confine"],
                variables,
                setup,
                on_event,
                output=servers_output,
                descriptors=(keepers_end,),
            )
        except BaseException:
            os.close(output)
            self._hang_up()
            raise
        finally:
            os.close(keepers_end)
            os.close(servers_output)
        on_output(output)

    def _kill_process(self) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        with self._hang_up_lock:
            if self._alive >= 0:
                os.close(self._alive)
                self._alive = -1

    def _handle(self, message: dict[str, Any], pidfd: int | None) -> None:
        if isinstance(message.get("failure"), dict):
            self.failure = message["failure"]
        if "ended_orphans" in message:
            time.sleep(_EVENT_PAUSE_SECONDS)  # a package could send them to keep the gateway busy
        super()._handle(message, pidfd)

    def _end(self) -> None:
        """Wait for the keeper, which tells how the server ended, and ends what the server left behind."""
        self.killed = True
        for seconds, further in ((_OWN_EXIT_SECONDS, self._hang_up), (_KEEPER_SECONDS, self.process.kill)):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                break
            further()
        super()._end()
