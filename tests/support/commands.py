"""Run the `gateway` command in a process of its own, as a user does, and look at processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE_SECONDS = 60.0
"""A time limit in seconds for any step, on a machine that is busy with other things."""


def gateway(
    *arguments: str, cwd: Path, extra: Mapping[str, str] | None = None, within: float = PATIENCE_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run the command, and return its status and output."""
    with own_tempdir() as temporary:
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            env=environment(temporary | dict(extra or {})),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )


@contextmanager
def own_tempdir() -> Iterator[dict[str, str]]:
    """Yield the variable that names a temporary folder of one gateway's own, with a short path.

    A gateway removes, and logs, what killed gateways left in their common folder: those of other tests too.
    """
    with tempfile.TemporaryDirectory(prefix="t", ignore_cleanup_errors=True) as folder:
        yield {"TMPDIR": folder}


class Running:
    """A command that keeps running, and the lines that it wrote to standard output and standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """All lines so far."""
        return "".join(self.lines)

    def wait_for(self, text: str, *, within: float = PATIENCE_SECONDS) -> str:
        """Wait for a line that contains `text` and return the first; fail if the command ends before."""
        with self._more:
            self._more.wait_for(lambda: self._line(text) or not self._reader.is_alive(), within)
        found = self._line(text)
        assert found, f"no line with {text!r} in: {self.output[-3000:]}"
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log records of the event `name` so far."""
        records = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [record for record in records if record.get("event") == name]

    def wait_for_event(
        self, name: str, *, times: int = 1, within: float = PATIENCE_SECONDS
    ) -> list[dict[str, Any]]:
        """Wait until the log has at least `times` records of the event, and return them."""
        with self._more:
            self._more.wait_for(
                lambda: len(self.events(name)) >= times or not self._reader.is_alive(), within
            )
        found = self.events(name)
        assert len(found) >= times, f"{name!r} was not logged {times} times: {self.output[-3000:]}"
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the command, wait for its end, and return its status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """Read the rest of the output of the command, which has ended."""
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
    """Run the command while the context lasts, and end it with SIGTERM if it still runs then."""
    with own_tempdir() as temporary:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments],
            env=environment(temporary | dict(extra or {})),
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
    """Return the ids of all processes below `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (above := parent(int(entry.name))) is not None:
            parents[int(entry.name)] = above
    found, before = {pid}, 0
    while len(found) != before:
        before = len(found)
        found |= {child for child, above in parents.items() if above in found}
    return found - {pid}


def still_running(pids: set[int], *, within: float = PATIENCE_SECONDS) -> set[int]:
    """Return which of the processes still run after `within` seconds; return early if none does."""
    until = time.monotonic() + within
    while (alive := {pid for pid in pids if _runs(pid)}) and time.monotonic() < until:
        time.sleep(0.05)
    return alive


def parent(pid: int) -> int | None:
    """Return the id of the process' parent, or None if there is no such process."""
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
