"""Keep a node agent on each chosen node of a Ray cluster, and print which there are.

A program of its own: `python …/keeper.py` under any interpreter that has ray, with the version of the
cluster's. `gateway ray-keeper` and the engine `ray` start it. It imports nothing of this project but the
files beside it, by their paths.

The first line of standard input is one JSON object: `"address"` and `"namespace"` as for `ray.init`,
`"label"` (which nodes; empty for all but the head), `"command"` (the agent's words), `"port"` (0 for a free
one) and `"token"` (a secret). Each line of standard output is one JSON object with one name:

- `{"members": [{"name": node id, "address": "host:port", "alive": true}, …]}`, once every chosen node has
  said where its agent is, or had time to, and then whenever they change
- `{"warning": text}`, once for each thing that an operator should change
- `{"heartbeat": seconds since Ray last answered}`, every two seconds

It ends when standard input closes, when its parent ends, or when Ray has not answered for a minute. The
agents go on without it, and the next keeper finds them by their names in the namespace.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 2.0
SILENT_SECONDS = 60.0
FIRST_ANSWERS_SECONDS = 15.0
_FOLDER = Path(__file__).parent
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


class Watch:
    """The heartbeat of this process: how long Ray is silent. It ends the process if that is too long."""

    def __init__(self) -> None:
        self._answered = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def answered(self) -> None:
        """Start the silence again."""
        self._answered = time.monotonic()

    def _run(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            silence = time.monotonic() - self._answered
            write_line(heartbeat=round(silence, 1))
            if silence > SILENT_SECONDS:
                exit_now(f"Ray has not answered for {silence:.0f} s")


_output = os.dup(1)
_output_lock = threading.Lock()


def write_line(**line: object) -> None:
    """Write one line of standard output; end this process if its reader is gone."""
    with _output_lock:
        try:
            os.write(_output, json.dumps(line).encode() + b"\n")
        except BrokenPipeError:
            os._exit(0)


def exit_now(text: str) -> None:
    """End this process with an error, whatever its threads wait for."""
    sys.stderr.write(f"ray-keeper: {text}\n")
    sys.stderr.flush()
    os._exit(1)


def end_with_stdin() -> None:
    """End this process when standard input closes. Nothing is undone: detached actors stay."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def prepare() -> None:
    """Hide this process, which gets a secret, and have it end with its parent; print nothing but lines."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(2, 1)  # libraries print to standard output
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def main() -> None:
    """Follow the cluster until standard input closes."""
    prepare()
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_stdin, daemon=True).start()
    watch = Watch()
    try:
        import ray.util.scheduling_strategies  # noqa: PLC0415 - after its variables are set, while something watches

        options = {"log_to_driver": False, "logging_level": "ERROR"}
        ray.init(address=order["address"], namespace=order["namespace"], **options)
        follow(make_cluster(ray, order), watch)
    except Exception as error:  # noqa: BLE001 - the process ends here, and its parent logs this text
        exit_now(f"{type(error).__name__}: {error}")


def make_cluster(ray: Any, order: dict[str, Any]) -> Any:
    """Return the cluster; the actor's class goes to its nodes by value."""
    actor = load("node_actor")
    ray.cloudpickle.register_pickle_by_value(actor)
    agent = {name: order[name] for name in ("command", "port", "token")}
    agent["guard"] = (_FOLDER / "agent_guard.py").read_text(encoding="utf-8")

    def warn(text: str) -> None:
        write_line(warning=text)

    return load("cluster").Cluster(ray, actor.NodeActor, label=order["label"], agent=agent, warn=warn)


def load(name: str) -> Any:
    """Return the module of a file beside this one, whose package this interpreter does not have."""
    spec = importlib.util.spec_from_file_location(f"gateway_ray_{name}", _FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - for a file that is there
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def follow(cluster: Any, watch: Watch) -> None:
    """Poll the cluster for ever, and write the members whenever they change."""
    told: list[dict[str, Any]] | None = None
    began = time.monotonic()
    while True:
        cluster.poll()
        watch.answered()
        members = cluster.members()
        # The gateway goes on with what it knows until then: a keeper that has just started knows nothing.
        known = told is not None or cluster.complete or time.monotonic() - began > FIRST_ANSWERS_SECONDS
        if known and members != told:
            told = members
            write_line(members=members)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    del sys.path[0]  # this folder
    main()
