"""The actor of one node of a Ray cluster: it starts the guard of the node's agent, and knows its state.

The keeper sends this module by value: nodes have no copy of it, and it imports the standard library alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

RECONNECT_VARIABLE = "RAY_gcs_rpc_server_reconnect_timeout_s"


class NodeActor:
    """The keeper of one node's agent. The agent ends with the actor's process: the guard's input closes."""

    def __init__(self) -> None:
        self._guard: Any = None
        self._order: dict[str, Any] | None = None
        self._state: dict[str, Any] = {}

    def look(self, order: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the state of the agent; `order` is what it is to be from now on.

        `{"needs_order": True}` if there was never an order, as after a restart of the actor.
        """
        if order is not None and order != self._order:
            self._end_guard()
            self._order = order
        if self._order is None:
            return {"needs_order": True}
        if self._guard is None or self._guard.poll() is not None:
            self._end_guard()
            self._start_guard(self._order)
        return {**self._state, "reconnect": os.environ.get(RECONNECT_VARIABLE, ""), "niceness": os.nice(0)}

    def _start_guard(self, order: dict[str, Any]) -> None:
        program = os.memfd_create("gateway-agent-guard")
        os.write(program, order["guard"].encode())
        words = [sys.executable, "-I", "-S", f"/proc/self/fd/{program}"]
        self._state = {}
        guard: Any = subprocess.Popen(  # noqa: S603 - this interpreter
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={},
            pass_fds=(program,),
        )
        os.close(program)
        self._guard = guard
        agent = {"environment": self._environment(), "host": order["host"]}
        agent |= {name: order[name] for name in ("command", "port", "token")}
        guard.stdin.write(json.dumps(agent).encode() + b"\n")
        guard.stdin.flush()

        def read() -> None:
            for line in guard.stdout:
                if self._guard is guard:
                    self._state = json.loads(line)
            if self._guard is guard:
                self._state = {**self._state, "alive": False}

        threading.Thread(target=read, daemon=True).start()

    def _end_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.stdin.close()
            guard.wait()

    def _environment(self) -> dict[str, str]:
        """Return the variables of `ray start` on this node, without Ray's own.

        As this process was started with: Ray changes some for actors, such as CUDA_VISIBLE_DEVICES.
        """
        content = Path("/proc/self/environ").read_bytes().decode(errors="surrogateescape")
        pairs = (entry.partition("=") for entry in content.split("\0") if "=" in entry)
        found = {name: value for name, _, value in pairs}
        for name in ("PYTHONBREAKPOINT", "SPT_NOENV"):
            found.pop(name, None)
        return {name: value for name, value in found.items() if not name.startswith("RAY_")}
