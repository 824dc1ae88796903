"""How busy the workers of each model are, and on how many nodes it should therefore be."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.engines import placement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.protocol.messages import ModelKey

_WINDOW_SECONDS: Final = 10.0
_ANY: Final = 2**31 - 1


class Utilisation:
    """A record of the workers' busy time over the last seconds.

    The first sample decides for all of the window, so a model that was just loaded has no utilisation yet.
    A model's wanted replicas grow by one in each window at most: a node that was asked to help must be warm
    before it takes a part of the load. They are halved where half of the nodes would be busy enough: there
    may be fewer nodes than wanted, so that the load is less than it seems.
    """

    def __init__(self, *, least: int = 1, most: int = 0, window_seconds: float = _WINDOW_SECONDS) -> None:
        """`least` and `most` bound the replicas; `most` 0: no bound but the nodes that there are."""
        self._least = least
        self._most = most or _ANY
        self._window_seconds = window_seconds
        self._samples: deque[tuple[float, Mapping[ModelKey, float]]] = deque()
        self._wanted: dict[ModelKey, tuple[int, float]] = {}

    def record(self, busy_seconds: Mapping[ModelKey, float], *, now: float) -> None:
        """Note how long each model's workers have been busy until `now`, in seconds of a steady clock."""
        self._samples.append((now, busy_seconds))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self._window_seconds:
            self._samples.popleft()
        self._wanted = {key: self._decide(key, now) for key in busy_seconds}

    def busy(self, key: ModelKey) -> float:
        """Return the share of the window in which the model's workers were busy, from 0 to 1."""
        if len(self._samples) < 2:
            return 0.0
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        if key not in before or key not in after or last <= first:
            return 0.0
        return min(1.0, max(0.0, (after[key] - before[key]) / (last - first)))

    def wanted(self, key: ModelKey) -> int:
        """Return on how many nodes the model should be."""
        return self._wanted.get(key, (self._least, 0.0))[0]

    def _decide(self, key: ModelKey, now: float) -> tuple[int, float]:
        """Return the replicas and when they last changed."""
        current, changed = self._wanted.get(key, (self._least, now))
        if now - changed < self._window_seconds:
            return current, changed
        busy = self.busy(key)
        load = busy * current  # its other nodes have as much of it
        found = placement.replicas(load, current, least=self._least, most=self._most)
        if found > current:
            found = current + 1
        elif 2 * busy < placement.GROW_ABOVE:
            found = max(self._least, min(found, (current + 1) // 2))
        return found, changed if found == current else now
