"""The `gateway` command as a user runs it: a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE_SECONDS = 60.0


def gateway(
    *arguments: str, cwd: Path, extra: Mapping[str, str] | None = None, within: float = PATIENCE_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=environment(extra),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


class Running:
    """A command that stays up, and what it has said so far on both streams."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        """Everything so far."""
        return "".join(self.lines)

    def wait_for(self, text: str, *, within: float = PATIENCE_SECONDS) -> str:
        """Return the first line that holds `text`; fails when the command ends or takes too long."""
        with self._more:
            come = self._more.wait_for(lambda: self._line(text) or not self._reader.is_alive(), within)
        found = self._line(text)
        assert come and found, f"{text!r} was never said, but: {self.said[-3000:]}"  # noqa: PT018 - one question
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the command and wait; its status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """Read to the end of what the ended command said."""
        self._reader.join(PATIENCE_SECONDS)
        assert not self._reader.is_alive(), "a process below the command still holds its output"
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _line(self, text: str) -> str:
        return next((line for line in self.lines if text in line), "")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line)
                self._more.notify_all()
        with self._more:
            self._more.notify_all()


@contextmanager
def running(*arguments: str, cwd: Path, extra: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The command while the context lasts; ended kindly at its end where it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        env=environment(extra),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    command = Running(process)
    try:
        yield command
    finally:
        if process.poll() is None:
            command.end()
        command.close()


def descendants(pid: int) -> set[int]:
    """Every process below this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (above := parent(int(entry.name))) is not None:
            parents[int(entry.name)] = above
    found, before = {pid}, 0
    while len(found) != before:
        before = len(found)
        found |= {child for child, above in parents.items() if above in found}
    return found - {pid}


def left(pids: set[int], *, within: float = 15.0) -> set[int]:
    """Which of the processes still run when `within` seconds have passed."""
    until = time.monotonic() + within
    while (alive := {pid for pid in pids if _runs(pid)}) and time.monotonic() < until:
        time.sleep(0.05)
    return alive


def parent(pid: int) -> int | None:
    """The process that this one is a child of; None where it is gone."""
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
