"""A gateway in a process of its own, as an operator runs it, and the events of its log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.support.commands import descendants, own_tempdir, parent
from tests.support.mlflow_server import environment
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAMS = Path(__file__).parent / "programs"
_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.02


class Process:
    """A running gateway: its address, its log, and the processes below it."""

    def __init__(
        self,
        folder: Path,
        values: dict[str, str],
        *,
        program: str,
        python: Path | str,
        preexec: Callable[[], None] | None,
    ) -> None:
        """Start `program` of `tests.support.programs`, and return when it has printed its first line.

        That line is the address, or empty if the program ended. `preexec` runs in the new process before it.
        """
        self._log = folder / "gateway.log"
        self._stack = ExitStack()
        temporary = self._stack.enter_context(own_tempdir())
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python), str(_PROGRAMS / f"{program}.py")],
                env=environment({"GATEWAY_ENVIRONMENTS": "off"} | temporary | values),
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                preexec_fn=preexec,  # noqa: PLW1509 - no thread of the tests holds a lock that it needs
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started."""
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group, as a terminal does."""
        os.killpg(self._process.pid, number)

    @property
    def pid(self) -> int:
        """The id of the process that was started."""
        return self._process.pid

    def status(self, seconds: float = _TIMEOUT_SECONDS) -> int:
        """Wait for the end of the process and return its exit status; block meanwhile."""
        return self._process.wait(seconds)

    async def exit_status(self) -> int:
        """Wait for the end of the process and return its exit status."""
        return await asyncio.to_thread(self.status)

    def log(self) -> list[str]:
        """Return the complete lines of the log so far."""
        return self._log.read_bytes().rpartition(b"\n")[0].decode().splitlines()

    def records(self) -> list[dict[str, Any]]:
        """Return the log records so far; the stacks that a dying process writes are left out."""
        return [json.loads(line) for line in self.log() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log records of the event `name` so far."""
        return [record for record in self.records() if record.get("event") == name]

    async def wait_for(self, event: str, *, times: int = 1) -> list[dict[str, Any]]:
        """Wait until the log has at least `times` records of the event, and return them."""
        try:
            await until(lambda: len(self.events(event)) >= times, interval=_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{event!r} was not logged {times} times: {self.log()}") from None
        return self.events(event)

    async def wait_until_closed(self) -> None:
        """Wait until no new connection is accepted."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            with suppress(aiohttp.ClientConnectionError):
                while True:
                    async with aiohttp.ClientSession() as client, client.get(f"{self.url}/health/live"):
                        await asyncio.sleep(_POLL_SECONDS)

    def child_pids(self) -> set[int]:
        """Return the processes that the started process is the parent of.

        If it supervises several gateway processes, these and the node process are its only children.
        """
        return {pid for pid in descendants(self.pid) if parent(pid) == self.pid}

    def gateway_pids(self) -> set[int]:
        """Return the gateway processes that the started process supervises."""
        return self.child_pids() - {record["pid"] for record in self.events("node_listening")}

    def node_pid(self) -> int:
        """Return the process that holds the models for several gateway processes."""
        pid: int = self.events("node_listening")[-1]["pid"]
        return pid

    def pid_of(self, number: int) -> int:
        """Return the gateway process that has this number in the log."""
        pid: int = [record for record in self.events("listening") if record["process"] == number][-1]["pid"]
        return pid

    def others(self) -> list[int]:
        """Return the other processes of the gateway's session, also those that outlive it."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, rest = stat.read_text().split(" (", 1)
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, _, _, session = rest.rpartition(") ")[2].split()[:4]
            if int(session) == self._process.pid and int(pid) != self._process.pid and state != "Z":
                found.append(int(pid))
        return found

    def left(self, seconds: float = _TIMEOUT_SECONDS) -> list[int]:
        """Return the processes of the session that still run after `seconds`; return early if none does.

        The fork server ends shortly after the gateway.
        """
        ends = time.monotonic() + seconds
        while self.others() and time.monotonic() < ends:
            time.sleep(_POLL_SECONDS)
        return self.others()

    def end(self) -> None:
        """Kill what still runs of the gateway, and collect its process."""
        if self._process.poll() is None or self.others():
            with suppress(ProcessLookupError):  # the last of them may have ended meanwhile
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stack.close()
