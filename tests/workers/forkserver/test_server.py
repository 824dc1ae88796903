"""The fork server as a program: what it forks, which interpreter runs it, and how it ends."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import resource
import signal
import sys
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support.forkserver import RunningServer, open_descriptors, running
from workers.process.descriptors import wait_readable
from workers.process.order import PickledOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.process.forkserver import ForkedProcess

INTERPRETER = """
import importlib.util, sys
print(sys.prefix, *(importlib.util.find_spec(name) is not None for name in ("mlflow", "workers")))
"""
_PR_GET_DUMPABLE = 3
_TIMEOUT_SECONDS = 60.0
_CHAIN = 300  # more than one sweep ends


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A fork server that has imported nothing."""
    with running(preload="none") as server:
        yield server


def inherited() -> dict[str, Any]:
    """Return what a forked process has from the fork server."""
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "dumpable": ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE),
        "signals": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        "stdin": str(Path("/proc/self/fd/0").readlink()),
    }


def test_it_runs_under_another_interpreter(tmp_path: Path) -> None:
    """It needs no package there, and none of this environment's packages can be imported."""
    venv.create(tmp_path, with_pip=False, symlinks=True)
    with running(preload="none", python=str(tmp_path / "bin" / "python")) as server:
        seen = server.output(exec, INTERPRETER, {})
    assert seen.split() == [str(tmp_path), "False", "True"]


def test_a_process_inherits_nothing_of_the_server(server: RunningServer) -> None:
    """It has its own three descriptors, the usual signals, and cannot be looked into until it is prepared."""
    state = server.call(inherited)
    # with the one that lists them
    assert state == {"descriptors": 4, "dumpable": 0, "signals": True, "stdin": "/dev/null"}


@pytest.mark.parametrize(("function", "code"), [(os.getpid, 0), (sys.exit, 1), (os.abort, -signal.SIGABRT)])
def test_the_sentinel_has_the_exit_code(server: RunningServer, function: Any, code: int) -> None:
    """It is 1 for an order that raises, and the negative number of a signal."""
    assert exit_code(start(server, function)) == code


def test_a_server_that_is_killed(server: RunningServer) -> None:
    """Its processes end with it, their sentinels tell nothing, and the next start has another server."""
    process = start(server, signal.pause)
    before = server.pid
    server.kill()
    assert exit_code(process) is None
    psutil.wait_procs([psutil.Process(process.pid)] if psutil.pid_exists(process.pid) else [], 60)
    assert not psutil.pid_exists(process.pid)
    assert server.call(os.getpid)
    assert server.pid != before


def test_a_server_without_free_descriptors(server: RunningServer) -> None:
    """The start fails with the reason, and the next one works."""
    exit_code(start(server, os.getpid))
    used = open_descriptors(server)
    process = psutil.Process(server.pid)
    limits = process.rlimit(resource.RLIMIT_NOFILE)
    one_more = next(number for number in itertools.count() if number not in used) + 1
    process.rlimit(resource.RLIMIT_NOFILE, (one_more, limits[1]))
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        start(server, os.getpid)
    process.rlimit(resource.RLIMIT_NOFILE, limits)
    assert open_descriptors(server) == used
    exit_code(start(server, os.getpid))
    assert open_descriptors(server) == used
    assert server.pid == process.pid


def test_what_is_no_order(server: RunningServer) -> None:
    """A process that cannot read its order ends with 1; the server goes on."""
    with open(os.devnull, "wb") as output:  # noqa: PTH123 - a descriptor is wanted
        process = server.start(PickledOrder(b"no pickle", ()), output.fileno())
    assert exit_code(process) == 1
    assert server.call(os.getpid) > 0


def test_it_tells_its_memory(server: RunningServer) -> None:
    """The PSS is about what psutil reports."""
    server.call(os.getpid)
    reported = psutil.Process(server.pid).memory_full_info().pss
    assert server.measure_pss() == pytest.approx(reported, rel=0.2)


def start(server: RunningServer, function: Any) -> ForkedProcess:
    """Start a process without output."""
    with open(os.devnull, "wb") as output:  # noqa: PTH123 - as above
        return server.start(PickledOrder.of(function), output.fileno())


def exit_code(process: ForkedProcess) -> int | None:
    """Wait for the end of a process, and return what the fork server says of it."""
    assert wait_readable(process.sentinel, _TIMEOUT_SECONDS)
    code = os.read(process.sentinel, 4)
    os.close(process.sentinel)
    os.close(process.watched)
    return int.from_bytes(code, "little", signed=True) if code else None


def test_an_order_that_cannot_be_sent_shifts_no_reply(server: RunningServer) -> None:
    """Its start fails; the next ones get their own processes."""
    server.call(os.getpid)
    running = server._server
    assert running is not None
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        running.order(b"order", (10**6,))
    processes = [start(server, os.getpid) for _ in range(3)]
    assert [exit_code(process) for process in processes] == [0, 0, 0]


def test_descriptors_on_their_way(server: RunningServer) -> None:
    """A process may have fewer of them than the server, so that it cannot use up what the system allows."""
    limit = psutil.Process(server.pid).rlimit(resource.RLIMIT_NOFILE)[0]
    soft, hard = server.call(resource.getrlimit, resource.RLIMIT_NOFILE)
    assert soft == hard < limit


@pytest.mark.slow
def test_a_chain_of_processes_ends_with_the_server() -> None:
    """However deep processes are below one another, each in a session of its own, none is left."""
    with running(preload="none") as server:
        start(server, fork_chain)
        process = psutil.Process(server.pid)
        until_sync(lambda: len(process.children(recursive=True)) >= _CHAIN)
        below = process.children(recursive=True)
    assert not [each for each in below if each.is_running()]


def fork_chain() -> None:
    """Fork a chain of processes, without what Python does at each fork."""
    libc = ctypes.CDLL(None)
    for _ in range(_CHAIN):
        if libc.fork():
            signal.pause()
        os.setsid()
    signal.pause()


def until_sync(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds. Blocks."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
