"""Servers of the benchmark: each in a process group of its own, ended with all its children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 120.0
STOP_SECONDS = 15.0
_OTHERS = ("AWS_", "GATEWAY_", "LITSERVE_", "MLFLOW_", "MLSERVER_", "UVICORN_")


@dataclass(frozen=True, slots=True)
class Process:
    """A server that answers, and the seconds it took to."""

    pid: int
    seconds: float

    def memory(self) -> int:
        """The bytes of it and of all that descend from it; what they share counts once."""
        leader = psutil.Process(self.pid)
        return sum(_pss(one) for one in (leader, *leader.children(recursive=True)))


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what would configure a server by chance, and `extra`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
    return ours | dict(extra)


@contextmanager
def running(
    command: Sequence[str], *, ready: str, folder: Path, extra: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """The command, running in `folder`, from when `ready` (an address) answers 200."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    started = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment(extra or {}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, ready, log=log)
        yield Process(process.pid, time.monotonic() - started)
    finally:
        _end(process)


def _wait(process: subprocess.Popen[bytes], address: str, *, log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise RuntimeError(f"it ended at once:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - loopback, our own address
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise RuntimeError(f"not ready within {START_SECONDS:g} s:\n{log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    descendants = _descendants(process.pid)
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _kill_group(process.pid)
        _kill(descendants)
        process.wait()


def _descendants(pid: int) -> list[psutil.Process]:
    """Return what descends from a process: some have left its group, and end only once they notice."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(processes, STOP_SECONDS)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:  # it ended since it was listed
        return 0
