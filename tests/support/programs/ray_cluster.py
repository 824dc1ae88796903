"""A Ray cluster on this machine: a head, and nodes that lines of standard input add.

It runs under an interpreter that has ray. Each line of input adds a node; the program ends when its input
closes. Each answer is one JSON line. What Ray leaves behind becomes a child of this process, so that its
owner can find and end it.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import threading
import time
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_OPTIONS = {
    "num_cpus": 1,
    "object_store_memory": 80 << 20,
    "include_dashboard": False,
    "node_ip_address": "127.0.0.1",
}


def main() -> None:
    """Start the head, then obey."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    answers = os.dup(1)
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - it prints

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client_port = free.getsockname()[1]
    head = {**_OPTIONS, "ray_client_server_port": client_port}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    threading.Thread(target=reap, args=(cluster,), daemon=True).start()
    answer = {
        "address": cluster.address,
        "client": f"ray://127.0.0.1:{client_port}",
        "gcs": pid(cluster.head_node, "gcs_server"),
    }
    os.write(answers, json.dumps(answer | described(cluster.head_node)).encode() + b"\n")
    for _ in sys.stdin:
        node = cluster.add_node(labels={"gateway.agent": "yes"}, **_OPTIONS)
        os.write(answers, json.dumps(described(node)).encode() + b"\n")


def described(node: Any) -> dict[str, object]:
    """Return the id of a node, and the pid of its raylet."""
    return {"node": node.node_id, "raylet": pid(node, "raylet")}


def pid(node: Any, kind: str) -> int:
    """Return the pid of one of a node's processes."""
    return int(node.all_processes[kind][0].process.pid)


def reap(cluster: Any) -> None:
    """Collect processes that were killed: a zombie looks alive to those that depend on it."""
    while True:
        for node in list(cluster.list_all_nodes()):
            for started in node.all_processes.values():
                for each in started:
                    each.process.poll()
        time.sleep(0.1)


if __name__ == "__main__":
    main()
