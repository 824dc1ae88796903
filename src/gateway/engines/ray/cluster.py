"""The nodes of a Ray cluster that have an agent, as the keeper follows them.

The keeper's program loads this file; it imports the standard library alone, and gets ray as an argument.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ACTOR_PREFIX = "gateway-agent-"
HUNG_ACTOR_SECONDS = 30.0
LEAST_RECONNECT_SECONDS = 3600.0
_HEAD_RESOURCE = "node:__internal_head__"


class Node:
    """One node of the cluster that has an agent: its actor, and what the actor last said."""

    def __init__(self, ray: Any, actor_class: Any, node: str, *, order: dict[str, Any]) -> None:
        self.state: dict[str, Any] = {}
        self._ray = ray
        self._actor_class = actor_class
        self._node = node
        self._order = order
        self._actor: Any = None
        self._answer: Any = None
        self._asked = 0.0

    def poll(self) -> None:
        """Take the actor's answer if it is there, and ask again."""
        if self._answer is None:
            return self._ask(self._order)
        ready, _ = self._ray.wait([self._answer], timeout=0)
        if ready:
            return self._take()
        if time.monotonic() - self._asked > HUNG_ACTOR_SECONDS:
            self._answer = None
        return None

    def _take(self) -> None:
        try:
            answer = self._ray.get(self._answer)
        except self._ray.exceptions.RayError:
            self.state = {**self.state, "alive": False}
            self._actor = self._answer = None
            return None
        if answer.get("needs_order"):
            self.state = {**self.state, "alive": False}
            return self._ask(self._order)
        self.state = answer
        return self._ask(None)

    def _ask(self, order: dict[str, Any] | None) -> None:
        if self._actor is None:
            self._actor = self._find_or_create()
        self._answer = self._actor.look.remote(order)
        self._asked = time.monotonic()

    def _find_or_create(self) -> Any:
        strategies = self._ray.util.scheduling_strategies
        options = {
            "name": ACTOR_PREFIX + self._node,
            "get_if_exists": True,
            "lifetime": "detached",
            "max_restarts": -1,
            "num_cpus": 0,
            "scheduling_strategy": strategies.NodeAffinitySchedulingStrategy(self._node, soft=False),
        }
        return self._ray.remote(self._actor_class).options(**options).remote()


class Cluster:
    """The nodes of a Ray cluster that have an agent.

    `agent` is what each actor gets: `command`, `port`, `token`, and `guard`, a text. `warn` is called once
    for each thing that an operator should change.
    """

    def __init__(
        self,
        ray: Any,
        actor_class: Any,
        *,
        label: str,
        agent: dict[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        self._ray = ray
        self._actor_class = actor_class
        self._label = label
        self._agent = agent
        self._warn = warn
        self._nodes: dict[str, Node] = {}
        self._warned: set[str] = set()

    def poll(self) -> None:
        """Follow the cluster: agents on the nodes that there are now, none on others."""
        actors = self._actors()  # before the nodes: another keeper may create one for a node that joins
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        chosen = {name: node for name, node in alive.items() if carries(node, self._label)}
        for actor in actors - {ACTOR_PREFIX + name for name in chosen}:
            with contextlib.suppress(ValueError):  # another keeper has removed it
                self._ray.kill(self._ray.get_actor(actor), no_restart=True)
        for name in self._nodes.keys() - chosen.keys():
            del self._nodes[name]
        for name, node in chosen.items():
            if name not in self._nodes:
                order = {**self._agent, "host": node["NodeManagerAddress"]}
                self._nodes[name] = Node(self._ray, self._actor_class, name, order=order)
            self._nodes[name].poll()
        self._check(chosen)

    @property
    def complete(self) -> bool:
        """Whether each chosen node has said where its agent is."""
        return all("address" in node.state for node in self._nodes.values())

    def members(self) -> list[dict[str, Any]]:
        """Return the agents whose address is known."""
        return [
            {"name": name, "address": node.state["address"], "alive": node.state["alive"]}
            for name, node in sorted(self._nodes.items())
            if "address" in node.state
        ]

    def _actors(self) -> set[str]:
        return {name for name in self._ray.util.list_named_actors() if name.startswith(ACTOR_PREFIX)}

    def _check(self, chosen: Iterable[str]) -> None:
        if not chosen:
            label = repr(self._label) if self._label else "no label: all but the head"
            self._warn_once(f"no node of the cluster is to have an agent ({label})")
        for name in chosen:
            seconds = self._nodes[name].state.get("reconnect")
            if seconds is not None and not is_raised(seconds):
                self._warn_once(
                    f"node {name}: without RAY_gcs_rpc_server_reconnect_timeout_s=86400 in the environment of"
                    " `ray start`, its agent ends a minute after the head of the cluster does"
                )

            if self._nodes[name].state.get("niceness", 0) > 0:
                self._warn_once(
                    f"node {name}: without RAY_worker_niceness=0 in the environment of `ray start`, its agent"
                    " and its models get the processors that other programs leave"
                )

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)


def carries(node: Mapping[str, Any], label: str) -> bool:
    """Return whether a node is to have an agent: by `key=value`, by `key`, or not being the head."""
    if not label:
        return _HEAD_RESOURCE not in node["Resources"]
    key, equals, value = label.partition("=")
    labels = node.get("Labels") or {}
    return key in labels and (not equals or labels[key] == value)


def is_raised(seconds: str) -> bool:
    """Return whether the text is a reconnect timeout that survives a restart of the head."""
    try:
        return float(seconds) >= LEAST_RECONNECT_SECONDS
    except ValueError:
        return False
