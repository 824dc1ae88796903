"""Keep the demo's nodes running: start one on each port, and again a few seconds after it ended.

A program of its own: `python -m gateway.cli.demo.node_keeper FOLDER PORT…`. Nodes get its environment. In the
folder, `PORT.pid` has the process id of a node that accepts connections, and `PORT.log` what it wrote.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gateway.cli.demo.nodes import RESTART_SECONDS

if TYPE_CHECKING:
    from types import FrameType

_LOOK_SECONDS = 0.1
_CONNECT_SECONDS = 1.0


class KeptNode:
    """The node on one port, which may have ended."""

    def __init__(self, folder: Path, port: int) -> None:
        self._port = port
        self._pid_file, self._log_file = folder / f"{port}.pid", folder / f"{port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0
        self._starts = 0
        self._is_up = False

    def look(self) -> int:
        """Start it if it is time; return its exit status if it ended before it ever accepted connections."""
        process = self._process
        if process is None:
            if time.monotonic() >= self._start_at:
                self._start()
        elif process.poll() is not None:
            return self._note_end(process)
        elif not self._is_up and _accepts(self._port):
            self._note_up(process)
        return 0

    def end(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def wait(self) -> None:
        """Wait for its end."""
        if self._process is not None:
            self._process.wait()

    def _start(self) -> None:
        environ = os.environ | {"GATEWAY_NODE_HOST": "127.0.0.1", "GATEWAY_NODE_PORT": str(self._port)}
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "node"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                cwd=self._pid_file.parent,  # without the user's .env, whose settings are in the environment
            )
        self._starts += 1

    def _note_up(self, process: subprocess.Popen[bytes]) -> None:
        self._is_up = True
        part = self._pid_file.with_suffix(".part")
        part.write_text(str(process.pid))
        part.rename(self._pid_file)
        if self._starts > 1:
            _say(f"the node at 127.0.0.1:{self._port} runs again: process {process.pid}")

    def _note_end(self, process: subprocess.Popen[bytes]) -> int:
        if not self._is_up and self._starts == 1:
            return process.returncode or 1
        self._pid_file.unlink(missing_ok=True)
        self._process, self._is_up = None, False
        self._start_at = time.monotonic() + RESTART_SECONDS
        _say(f"the node at 127.0.0.1:{self._port} has ended; it is started again in {RESTART_SECONDS:g} s")
        return 0


def main(folder: Path, ports: list[int]) -> int:
    """Keep the nodes until a signal; return the status of one that does not start."""
    signal.signal(signal.SIGTERM, _exit)
    nodes = [KeptNode(folder, port) for port in ports]
    try:
        while True:
            for node in nodes:
                if status := node.look():
                    return abs(status)
            time.sleep(_LOOK_SECONDS)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for node in nodes:
            node.end()
        for node in nodes:
            node.wait()


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS):
        return True
    return False


def _say(text: str) -> None:
    sys.stdout.write(f"# {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
