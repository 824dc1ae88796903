"""A real Ray cluster of several nodes on this machine, which ends without a process left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tests.support.commands import descendants, parent, still_running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROGRAM = Path(__file__).parent / "programs" / "ray_cluster.py"
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else nodes have the machine's own address, not 127.0.0.1
    "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",
    # A dead node is noticed after some five seconds in place of thirteen.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_niceness": "0",
}


class RayCluster:
    """The program that runs the cluster; `head` has `address`, `client`, `gcs` and `raylet` of its head."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.head = self._answer()

    def add_node(self) -> dict[str, Any]:
        """Start a node and return its id as `node`, and the pid of its raylet as `raylet`."""
        assert self._process.stdin is not None
        self._process.stdin.write("add\n")
        self._process.stdin.flush()
        return self._answer()

    def processes(self) -> set[int]:
        """Return all processes of the cluster and what they started, orphans included."""
        return descendants(self._process.pid)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def ray_cluster(
    folder: Path, python: str, *, spared: bytes, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[RayCluster]:
    """Run a cluster while the context lasts; its folder for temporary files needs a short path.

    Its nodes have `environment`. At its end, all of Ray's processes are killed. Those with `spared` among
    their arguments, those below them, and those that guard them, must then end by themselves.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "PYTHON", "GATEWAY_"))
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**kept, **environment, **VARIABLES, "RAY_TMPDIR": str(folder)},
            start_new_session=True,
        )
    try:
        yield RayCluster(process)
    finally:
        pids = descendants(process.pid)
        guarded = {pid for pid in pids if spared in _arguments(pid)}
        guards = {above for pid in guarded if (above := parent(pid))}
        below = {pid for each in guarded for pid in descendants(each)}
        kill(pids - guarded - guards - below)
        left = still_running(pids)
        kill(left | {process.pid})
        process.communicate()
        assert left == set()


def kill(pids: set[int]) -> None:
    """Kill processes."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _arguments(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
