"""A process of the fleet at a fixed port, which can be killed and started again."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import psutil

from tests.support.commands import descendants
from tests.support.gateway_process import Process

if TYPE_CHECKING:
    from pathlib import Path

_END_SECONDS: Final = 60.0


class Member:
    """A node or a gateway: its present process, and what its former ones left."""

    def __init__(self, name: str, folder: Path, values: dict[str, str], *, program: str) -> None:
        """`program` is one of `tests.support.programs`. Its cache is kept from one process to the next."""
        self.name = name
        self.problems: list[str] = []
        self._folder = folder / name
        self._values = values | {"GATEWAY_CACHE_DIR": str(self._folder / "cache")}
        self._program = program
        self._starts = 0
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The present process."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process

    async def start(self) -> None:
        """Start a process, and wait until it listens."""
        self._starts += 1
        folder = self._folder / f"{self._starts}"
        folder.mkdir(parents=True)
        self._process = await asyncio.to_thread(self._started, folder)
        assert self._process.url, f"{self.name} did not start: {self._process.log()[-3:]}"

    async def kill(self) -> None:
        """Kill the process alone; all below it must end by themselves."""
        await self._ends(signal.SIGKILL, -signal.SIGKILL)

    async def leave(self) -> None:
        """End it in order."""
        await self._ends(signal.SIGTERM, 0)

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal, if it has one that runs."""
        if self._process is not None:
            self._process.send(number)

    def end(self) -> None:
        """Kill what is left of it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send(signal.SIGCONT)
            self._process.end()
            self._process = None

    def _started(self, folder: Path) -> Process:
        return Process(folder, self._values, program=self._program, python=sys.executable, preexec=None)

    async def _ends(self, number: signal.Signals, wanted: int) -> None:
        process = self.process
        below = _processes(process.pid)
        process.send(number)
        status = await asyncio.to_thread(process.status, _END_SECONDS)
        left = await asyncio.to_thread(_left, below)
        if status != wanted:
            self.problems.append(f"{self.name} ended with status {status}")
        if left:
            self.problems.append(f"processes outlived {self.name}: {left}")
        self.end()


def _processes(pid: int) -> list[psutil.Process]:
    found = []
    for child in descendants(pid):
        with suppress(psutil.Error):
            found.append(psutil.Process(child))
    return found


def _left(below: list[psutil.Process]) -> list[str]:
    """Return which of the processes still run after a while; a zombie is only not yet collected."""
    alive = psutil.wait_procs([one for one in below if _runs(one)], timeout=_END_SECONDS)[1]
    return [str(one) for one in alive if _runs(one)]


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
