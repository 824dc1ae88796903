"""Keep one command running on a node of a Ray cluster: a program of its own, of the standard library alone.

The keeper's actor runs its text as `python -I -S /proc/self/fd/N`; the node has no copy of this file. The
first line of standard input is one JSON object:

- `"command"`: a list of words; `"host"`: the address to listen on; `"port"`: the port, 0 for a free one
- `"environment"`: the variables of the command
- `"token"`: a secret, or empty. The command's standard input is an unnamed file with it, which
  GATEWAY_FLEET_TOKEN_FILE names; it is in no argument, no variable and no folder.

The command is in a process group of its own and gets GATEWAY_NODE_HOST and GATEWAY_NODE_PORT. It is started
again when it ends, after growing pauses. Each line of standard output is the state, one JSON object:
`{"pid": …, "address": "host:port", "alive": …}`; it is alive from its first accepted connection to its end.
When standard input closes, because the actor has ended in any way, the group gets SIGTERM, then SIGKILL.

The guard itself is a child of the process that the actor starts, which does nothing but wait for it: an actor
that ends kills its children, but not theirs, and the group would have no end in order.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

GRACE_SECONDS = 35.0  # more than an agent's longest drain by default
KILLED_SECONDS = 5.0
START_SECONDS = 120.0  # to the first accepted connection
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
STABLE_SECONDS = 60.0  # after a run so long, the pause is the first one again
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_LIBC = ctypes.CDLL(None)


class OwnerGone(Exception):
    """Standard input has closed."""


class Agent:
    """The command and its current process."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        token = order.pop("token")
        self._named = {"GATEWAY_FLEET_TOKEN_FILE": "/dev/stdin"} if token else {}
        if token:  # else the node may have one of its own
            order["environment"].pop("GATEWAY_FLEET_TOKEN", None)
        self._token = memory_file(token.encode())
        self._wakeup, self._signals = signal_pipe()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def keep_running(self) -> None:
        """Start the command again and again; raise OwnerGone when standard input closes."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                self._run_once()
            except OSError as error:
                sys.stderr.write(f"agent guard: the command does not start: {error}\n")
            if time.monotonic() - began > STABLE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def end(self) -> None:
        """End the process group: by SIGTERM, then by SIGKILL after the grace time."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        # What the command has started may be left even if it has ended itself. If nothing is left, its id may
        # be that of another process since, but hardly of another group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # another user's process cannot be killed
            process.wait(KILLED_SECONDS)
        self._process = None

    def _run_once(self) -> None:
        host = self._order["host"]
        port = self._order["port"] or self._free_port(host)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._process = process = self._start(host, port)
        try:
            tell(pid=process.pid, address=address, alive=False)
            if self._wait_until_it_accepts(process, host, port):
                self._port = port
                tell(pid=process.pid, address=address, alive=True)
                while process.poll() is None:
                    self._wait(None)
        finally:
            self.end()
        sys.stderr.write(f"agent guard: process {process.pid} ended with status {process.returncode}\n")
        tell(pid=process.pid, address=address, alive=False)

    def _free_port(self, host: str) -> int:
        """Return the port of the last run if it is free, else another free one."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for port in (self._port, 0):
            with socket.socket(family) as probe, contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers bind
                probe.bind((host, port))
                return int(probe.getsockname()[1])
        raise OSError(f"no port of {host} can be listened on")

    def _start(self, host: str, port: int) -> subprocess.Popen[bytes]:
        guard = os.getpid()

        def end_with_guard() -> None:
            os.setpgid(0, 0)
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(1)

        os.lseek(self._token, 0, os.SEEK_SET)
        own = {"GATEWAY_NODE_HOST": host, "GATEWAY_NODE_PORT": str(port), **self._named}
        return subprocess.Popen(  # noqa: S603 - the operator's command
            self._order["command"],
            stdin=self._token,
            stdout=2,  # standard output is the actor's
            env={**self._order["environment"], **own},
            cwd="/",
            preexec_fn=end_with_guard,  # noqa: PLW1509 - this program has one thread
        )

    def _wait_until_it_accepts(self, process: subprocess.Popen[bytes], host: str, port: int) -> bool:
        until = time.monotonic() + START_SECONDS
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((host, port), 1.0):
                return True
            if time.monotonic() > until:
                sys.stderr.write(f"agent guard: nothing accepts on {host}:{port}\n")
                return False
            self._wait(_POLL_SECONDS)
        return False

    def _wait(self, seconds: float | None) -> None:
        """Wait, at most until a child ends; raise OwnerGone if standard input closes."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            ready = select.select([0, self._signals], [], [], left)[0]
            if 0 in ready and not os.read(0, 65536):
                raise OwnerGone
            if self._signals in ready:
                if set(os.read(self._signals, 65536)) - {signal.SIGCHLD}:
                    raise OwnerGone
                if until is None:
                    return


def memory_file(content: bytes) -> int:
    """Return a descriptor of a file without a name that has this content."""
    descriptor = os.memfd_create("gateway")
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, content)
    return descriptor


def signal_pipe() -> tuple[int, int]:
    """Return the ends of a pipe into which the numbers of signals are written."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return writing, reading


def tell(**state: object) -> None:
    """Write the state; without a reader, standard input is closed as well."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(state).encode() + b"\n")


def read_line() -> bytes:
    """Return the first line of standard input, unbuffered: the rest is waited for by `select`."""
    line = b""
    while not line.endswith(b"\n"):
        if not (part := os.read(0, 65536)):
            raise SystemExit(1)
        line += part
    return line


def leave_parent() -> None:
    """Go on in a child in a session of its own; this process waits for it and exits with its status."""
    if (child := os.fork()) == 0:
        os.setsid()
        return
    os.close(0)
    os.close(1)
    _, status = os.waitpid(child, 0)
    os._exit(0 if status == 0 else 1)


def main() -> None:
    """Keep the command running until standard input closes."""
    _LIBC.prctl(_PR_SET_DUMPABLE, 0)
    leave_parent()
    agent = Agent(json.loads(read_line()))
    try:
        agent.keep_running()
    except OwnerGone:
        agent.end()


if __name__ == "__main__":
    main()
