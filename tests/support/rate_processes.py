"""Processes that share one table of rates, of one bucket: a program that forks them, and a handle on it.

The program reads one command a line, as JSON, and answers each with one line.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from gateway.auth.limits.gcra import Gcra
from gateway.auth.limits.shared_rates import SharedRates
from gateway.domain.limits import parse_rate

if TYPE_CHECKING:
    from gateway.domain.limits import Rate


class RateProcesses:
    """A handle on a program whose child processes share a table of rates. Their clock is what tests say."""

    def __init__(self, count: int, *, patience_seconds: float = 60.0) -> None:
        command = [sys.executable, "-m", __name__, str(count), str(patience_seconds)]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.communicate(timeout=60)
        assert self._program.returncode == 0

    def take(
        self, processes: list[int], name: str, rate: Rate, *, burst: int, now: int, tries: int = 1
    ) -> int:
        """Have each of the processes try that often, all of them at once; return how many were admitted."""
        order = {"do": "take", "name": name, "rate": str(rate), "burst": burst, "now": now, "tries": tries}
        return sum(self._ask(processes, order))

    def lock_and_kill(self, process: int, name: str) -> None:
        """Kill a process that holds the lock of a name's bucket, and start another in its place."""
        self._ask([process], {"do": "lock", "name": name})
        self._ask([process], {"do": "kill"})

    def lock_and_stop(self, process: int, name: str) -> None:
        """Stop a process that holds the lock of a name's bucket, until `resume`."""
        self._ask([process], {"do": "lock", "name": name})
        self._ask([process], {"do": "stop"})

    def resume(self, process: int) -> None:
        """Let a stopped process go on, and release the lock."""
        self._ask([process], {"do": "resume"})
        self._ask([process], {"do": "unlock"})

    def _ask(self, processes: list[int], order: dict[str, Any]) -> list[int]:
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(json.dumps({"processes": processes, **order}) + "\n")
        self._program.stdin.flush()
        answer: list[int] = json.loads(self._program.stdout.readline())
        return answer


@dataclass
class _Child:
    pid: int
    connection: socket.socket


def _main(count: int, patience_seconds: float) -> None:
    rates = SharedRates(buckets=1, patience_seconds=patience_seconds)
    children = [_start(rates) for _ in range(count)]
    for line in sys.stdin:
        order = json.loads(line)
        chosen: list[int] = order.pop("processes")
        if order["do"] in {"kill", "stop", "resume"}:
            for number in chosen:
                children[number] = _signal(rates, children[number], order["do"])
            answers = [0 for _ in chosen]
        else:
            for number in chosen:
                children[number].connection.sendall(json.dumps(order).encode() + b"\n")
            answers = [int(children[number].connection.recv(64)) for number in chosen]
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()
    for child in children:  # each has the others' sockets too, so that closing them would end none
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


def _signal(rates: SharedRates, child: _Child, what: str) -> _Child:
    if what == "kill":
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.connection.close()
        return _start(rates)
    os.kill(child.pid, signal.SIGSTOP if what == "stop" else signal.SIGCONT)
    if what == "stop":
        os.waitpid(child.pid, os.WUNTRACED)
    return child


def _start(rates: SharedRates) -> _Child:
    ours, theirs = socket.socketpair()
    if pid := os.fork():
        theirs.close()
        return _Child(pid, ours)
    ours.close()
    os.close(sys.stdin.fileno())
    with theirs.makefile("r") as orders:
        for line in orders:
            theirs.sendall(str(_obey(rates, json.loads(line))).encode())
    os._exit(0)


def _obey(rates: SharedRates, order: dict[str, Any]) -> int:
    name = order["name"] if "name" in order else _locked.pop()
    if order["do"] == "take":
        gcra = Gcra.of(parse_rate(order["rate"]), order["burst"])
        taken = (rates.take(name, gcra, now=order["now"]) for _ in range(order["tries"]))
        return sum(wait == 0 for _, wait in taken)
    _, bucket = rates._hash(name)
    if order["do"] == "lock":
        assert rates._lock(bucket)
        _locked.append(name)
    else:
        fcntl.lockf(rates._descriptor, fcntl.LOCK_UN, 1, bucket)
    return 0


_locked: list[str] = []

if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]))
