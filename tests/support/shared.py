"""Servers that all test processes of one run share: the first that needs one starts it, the run ends it.

With pytest-xdist each worker is a process, and each fixture of the session exists once in each worker. A real
server costs seconds of computing time to start, so that four workers start it once together: under a lock,
with what the others must know of it in a file. The controller ends all of them at the end of the run.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

_FOLDER = "shared"
_GROUPS = "process-groups"
_END_SECONDS = 10.0


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """Return what `make` returned to the first test process that asked for `name`; JSON types only.

    `make` is given an empty folder that stays until the end of the run. A `make` that raises is called
    again by the next process that asks.
    """
    folder = _folder(factory)
    with FileLock(folder / f"{name}.lock"):
        result = folder / f"{name}.json"
        if not result.exists():
            own = folder / f"{name}-{time.monotonic_ns()}"
            own.mkdir()
            made = make(own)
            result.write_text(json.dumps(made))
        return json.loads(result.read_text())


def end_with_run(factory: pytest.TempPathFactory, group: int) -> None:
    """End the process group `group` when the whole run ends."""
    with (_folder(factory) / _GROUPS).open("a") as groups:
        groups.write(f"{group} {psutil.Process(group).create_time()}\n")


def end_all(base: Path) -> None:
    """End every process group that was registered under `base`, the run's temporary folder."""
    with suppress(FileNotFoundError):
        for line in (base / _FOLDER / _GROUPS).read_text().splitlines():
            group, started = line.split()
            if _is_free_or_started(int(group), float(started)):
                end_group(int(group))


def end_group(group: int) -> None:
    """End a process group: SIGTERM, then SIGKILL if anything is left of it after ten seconds."""
    _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while _signal(group, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(group, signal.SIGKILL)


def _is_free_or_started(pid: int, started: float) -> bool:
    """Return False if the process ended by itself and another one has its id now."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).create_time() == started
    return True


def _folder(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # a worker's own folder lies in the controller's
    folder = base / _FOLDER
    folder.mkdir(exist_ok=True)
    return folder


def _signal(group: int, number: int) -> bool:
    """Send a signal; return whether the group still exists."""
    with suppress(ChildProcessError):
        os.waitpid(-group, os.WNOHANG)  # the process that started it must collect it
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
