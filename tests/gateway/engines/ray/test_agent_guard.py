"""Proves that a node's agent is started again, gets its token in secret, and ends with what started it."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.engines.ray import agent_guard
from tests.support.commands import PATIENCE_SECONDS, descendants, parent, still_running

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = Path(__file__).parents[3] / "support" / "programs" / "tiny_node.py"
TOKEN = "sesame-sesame-sesame-sesame-sesame"  # noqa: S105 - of this test


class Guard:
    """A guard of a tiny agent, run as Ray's actor does: by its text, from a file without a name."""

    def __init__(self, *command: str, port: int = 0, host: str = "127.0.0.1", token: str = TOKEN) -> None:
        text = Path(agent_guard.__file__).read_text().replace("GRACE_SECONDS = 35.0", "GRACE_SECONDS = 1.0")
        program = os.memfd_create("guard")
        os.write(program, text.encode())
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", f"/proc/self/fd/{program}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={},
            pass_fds=(program,),
        )
        os.close(program)
        words = list(command) or [sys.executable, str(NODE)]
        given = {"GIVEN": "1", "GATEWAY_FLEET_TOKEN": "of-the-node"}
        order = {"command": words, "host": host, "port": port, "token": token, "environment": given}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        self._states: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def next_state(self, *, alive: bool) -> dict[str, Any]:
        """Return the next state that is, or is not, alive."""
        while (state := self._states.get(timeout=PATIENCE_SECONDS))["alive"] is not alive:
            pass
        return state

    def close(self) -> None:
        """Close the guard's standard input, and wait for its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE_SECONDS)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._states.put(json.loads(line))


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard with an agent that runs."""
    with closing(Guard()) as started:
        yield started


def ask(state: dict[str, Any]) -> dict[str, Any]:
    """Return what the agent says of itself."""
    host, _, port = state["address"].rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port))) as connection:
        found: dict[str, Any] = json.loads(connection.makefile().read())
        return found


def test_agent_gets_its_token_by_standard_input(guard: Guard) -> None:
    """It is in no variable and no argument; the agent reads it by its path or from standard input."""
    state = guard.next_state(alive=True)
    told = ask(state)
    assert told["pid"] == state["pid"] == told["group"]
    assert told["token"] == told["same_token_by_stdin"] == TOKEN
    assert told["environment"]["GIVEN"] == "1"
    assert "GATEWAY_FLEET_TOKEN" not in told["environment"]
    assert TOKEN not in json.dumps(told["environment"])
    assert TOKEN.encode() not in Path(f"/proc/{guard.process.pid}/cmdline").read_bytes()


def test_agent_without_a_token() -> None:
    """A fleet on loopback has none, or the node has its own: no file is named."""
    with closing(Guard(token="")) as guard:
        told = ask(guard.next_state(alive=True))
    assert told["token"] is None
    assert "GATEWAY_FLEET_TOKEN_FILE" not in told["environment"]
    assert told["environment"]["GATEWAY_FLEET_TOKEN"] == "of-the-node"  # noqa: S105 - no secret


def test_killed_agent_is_started_again_at_the_same_address(guard: Guard) -> None:
    """Each successor has the token too."""
    first = guard.next_state(alive=True)
    for _ in range(2):
        os.kill(first["pid"], signal.SIGKILL)
        assert guard.next_state(alive=False)["pid"] == first["pid"]
        second = guard.next_state(alive=True)
        assert second["pid"] != first["pid"]
        assert second["address"] == first["address"]
        assert ask(second)["token"] == TOKEN
        first = second


def test_agent_ends_with_its_owner(guard: Guard) -> None:
    """Standard input closes: the agent and the guard end."""
    state = guard.next_state(alive=True)
    guard.close()
    assert still_running({state["pid"]}) == set()


def test_agent_ends_with_a_killed_guard(guard: Guard) -> None:
    """SIGKILL to the guard alone: the process that waits for it says so, and the actor starts another one."""
    state = guard.next_state(alive=True)
    inner = parent(state["pid"])
    assert inner is not None
    assert inner != guard.process.pid
    os.kill(inner, signal.SIGKILL)
    assert still_running({state["pid"]}) == set()
    assert guard.process.wait(PATIENCE_SECONDS) == 1


def test_actor_that_ends_kills_its_children() -> None:
    """So Ray's actors do: the command's whole group ends all the same, a shell and what it started."""
    guard = Guard("/bin/sh", "-c", f"{sys.executable} {NODE} & wait")
    state = guard.next_state(alive=True)
    family = {state["pid"], *descendants(state["pid"])}
    guard.process.kill()
    guard.close()
    assert still_running(family) == set()


@pytest.mark.parametrize("ends_by", ["close", "agent killed"])
def test_what_the_agent_started_ends_too(ends_by: str) -> None:
    """The command is a shell that starts the agent, and neither ends by SIGTERM."""
    shell = f"trap '' TERM; {sys.executable} {NODE} & wait; wait"
    guard = Guard("/bin/sh", "-c", shell)
    state = guard.next_state(alive=True)
    family = {state["pid"], *descendants(state["pid"])}
    assert len(family) == 2
    if ends_by == "close":
        guard.close()
        assert still_running(family) == set()
    else:
        os.kill(state["pid"], signal.SIGKILL)
        assert still_running(family) == set()
        guard.close()


def test_command_that_does_not_exist() -> None:
    """It is tried again with growing pauses, without a state, and the guard still ends with its owner."""
    guard = Guard("/no/such/command")
    with pytest.raises(subprocess.TimeoutExpired):
        guard.process.wait(1.5)
    guard.close()
    assert guard.process.returncode == 0


def test_fixed_port() -> None:
    """The operator chose the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with closing(Guard(port=port)) as guard:
        assert guard.next_state(alive=True)["address"] == f"127.0.0.1:{port}"
