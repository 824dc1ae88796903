"""The versions that a node never evicts: those that any of its gateways pins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workers.protocol.messages import ModelKey

_KEPT_SECONDS: Final = 60.0  # after a link went: its gateway may be back soon


class Pinnable(Protocol):
    """What keeps versions loaded."""

    @property
    def pinned(self) -> frozenset[ModelKey]:
        """The versions that are never evicted."""

    def pin(self, key: ModelKey) -> None:
        """Never evict a version once it is loaded."""

    def unpin(self, key: ModelKey) -> None:
        """Let a version be evicted again."""


class NodePins:
    """The union of the pins of all links. Those of a link that went hold for a while."""

    def __init__(self, engine: Pinnable, *, kept_seconds: float = _KEPT_SECONDS) -> None:
        self._engine = engine
        self._kept_seconds = kept_seconds
        self._by_link: dict[object, frozenset[ModelKey]] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def replace(self, link: object, keys: Iterable[ModelKey]) -> None:
        """Note all that one link pins."""
        self._by_link[link] = frozenset(keys)
        self._apply()

    def release(self, link: object) -> None:
        """Forget what a link pins, in a while."""
        if not self._by_link.get(link):
            self._by_link.pop(link, None)
            return

        def forget() -> None:
            self._timers.discard(timer)
            del self._by_link[link]
            self._apply()

        timer = asyncio.get_running_loop().call_later(self._kept_seconds, forget)
        self._timers.add(timer)

    def close(self) -> None:
        """Cancel the timers."""
        for timer in self._timers:
            timer.cancel()

    def _apply(self) -> None:
        wanted, pinned = frozenset().union(*self._by_link.values()), self._engine.pinned
        for key in wanted - pinned:
            self._engine.pin(key)
        for key in pinned - wanted:
            self._engine.unpin(key)
