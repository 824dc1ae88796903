"""Place models on nodes: rendezvous hashing, replicas by load, and a choice among replicas. Pure functions.

Every gateway computes the same order of nodes for a model, so gateways need not agree with each other. If a
node goes, only its models move; if one joins, it takes only the models that it is now the first for.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from workers.protocol.messages import ModelKey

GROW_ABOVE = 0.25
"""A model gets another replica if its workers are busier than this on each of its nodes.

So low because a node holds many models: in `benchmarks/fleet_simulation.py`, 0.5 left nodes too busy to
answer all requests of a fleet at 70 % load, and 0.125 took more than twice as many further copies.
"""
SHRINK_BELOW = 0.15
"""A model loses a replica if its workers would stay below this on each node that is left."""
_DIGEST_BYTES = 8
_FRACTION_BITS = 53  # as many as a float holds exactly


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that can hold models. `weight` is its memory budget, in one unit for all nodes.

    Raise ValueError if the name is empty, or the weight is not a positive finite number.
    """

    name: str
    weight: float

    def __post_init__(self) -> None:
        """Refuse what has no place in an order."""
        if not self.name:
            raise ValueError("a node has no name")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"the weight of node {self.name} is {self.weight}, not a positive number")


def order(key: ModelKey, nodes: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return all nodes, the best for this model first; the order of `nodes` does not matter.

    Each node is first for a share of all models that is its share of all weights. The time is about 1.2 µs
    for each node, plus 1 µs: `PlacementCache` keeps the results of one membership.
    """
    prefix = _digest_of(key)
    return tuple(sorted(nodes, key=lambda node: (-_score(prefix, node), node.name)))


class PlacementCache:
    """A bounded cache of the orders of one membership; a new membership needs a new object.

    A hit takes 0.1 µs. `most` keys are kept, each with a pointer for every node: 4096 keys and 100 nodes
    take 4 MiB. The key that was not used for the longest time is dropped first. Raise ValueError if two
    nodes have one name.
    """

    def __init__(self, nodes: Iterable[Candidate], *, most: int = 4096) -> None:
        self.nodes = tuple(nodes)
        if len({node.name for node in self.nodes}) < len(self.nodes):
            raise ValueError("two nodes have the same name")

        @lru_cache(maxsize=most)
        def cached(key: ModelKey) -> tuple[Candidate, ...]:
            return order(key, self.nodes)

        self._cached = cached

    def __len__(self) -> int:
        """Return the number of keys whose order is kept."""
        return self._cached.cache_info().currsize

    def order(self, key: ModelKey) -> tuple[Candidate, ...]:
        """Return what `order` returns."""
        return self._cached(key)


def replicas(load: float, current: int, *, least: int = 1, most: int) -> int:
    """Return how many nodes should serve a model.

    `load` is the sum, over all nodes, of the busy share of the model's workers: 2.5 keeps those of two and
    a half nodes busy. `current` is the number of replicas now. The result is between `least` and `most`,
    and `most` wins. It never falls as the load rises. It stays the same while the load is between
    `SHRINK_BELOW * (result - 1)` and `GROW_ABOVE * result`, so a constant load changes it at most once.
    A load measured over less than some tens of seconds may cross both limits: average it before.
    Raise ValueError if `load` is negative or not finite, or `most` is less than 1.
    """
    if not (math.isfinite(load) and load >= 0):
        raise ValueError(f"a load cannot be {load}")
    if most < 1:
        raise ValueError(f"a model cannot have at most {most} replicas")
    fewest, greatest = math.ceil(load / GROW_ABOVE), math.ceil(load / SHRINK_BELOW)
    wanted = min(max(current, fewest), greatest)
    return min(max(wanted, least, 1), most)


def choose(
    nodes: Sequence[Candidate],
    in_flight: Mapping[str, int],
    *,
    draw: Callable[[], float] = random.random,
) -> Candidate:
    """Return the node with fewer requests in progress, of two nodes drawn at random.

    `in_flight` maps names of nodes to numbers of requests; a name that it lacks has none. Two choices
    suffice: the node with the least of all would get every request of every gateway at once. `draw`
    returns numbers in [0, 1). Raise ValueError if there is no node.
    """
    count = len(nodes)
    if count <= 1:
        if not nodes:
            raise ValueError("there is no node to choose")
        return nodes[0]
    position = int(draw() * count)
    other = int(draw() * (count - 1))
    first, second = nodes[position], nodes[other + (other >= position)]
    return second if in_flight.get(second.name, 0) < in_flight.get(first.name, 0) else first


def _digest_of(key: ModelKey) -> bytes:
    """Return 8 bytes for a key; the lengths keep apart keys whose parts join to the same text."""
    text = f"{len(key.name)}:{len(key.version)}:{key.name}{key.version}{key.fingerprint}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def _score(prefix: bytes, node: Candidate) -> float:
    """Return a positive number; the highest wins, in proportion to the weights (-w / ln u, u uniform)."""
    digest = blake2b(prefix + node.name.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
    uniform = ((int.from_bytes(digest, "big") >> (64 - _FRACTION_BITS)) + 0.5) / (1 << _FRACTION_BITS)
    return -node.weight / math.log(uniform)
