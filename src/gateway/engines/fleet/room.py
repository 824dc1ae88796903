"""For which models a node has no room, as far as a gateway can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.protocol.messages import ModelKey

_FULL_SECONDS: Final = 30.0
_SOON_SECONDS: Final = 30.0
_MEANWHILE_SECONDS: Final = 1.0


class Room:
    """A node's room: it has none for a model that it refused to load, or soon evicted, for half a minute.

    A node with few places that is the first one for many models would else load and evict them in turn
    without end, while others have places.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is a clock, in seconds."""
        self._now = now
        self._full_until: dict[ModelKey, float] = {}
        self._warm_since: dict[ModelKey, float] = {}
        self._loaded_at = float("-inf")

    def is_full_for(self, key: ModelKey) -> bool:
        """Whether there was no room for the model lately."""
        return self._full_until.get(key, 0.0) > self._now()

    def mark_full(self, key: ModelKey) -> None:
        """Take note that the node had no room for the model."""
        now = self._now()
        self._full_until = {known: until for known, until in self._full_until.items() if until > now}
        self._full_until[key] = now + _FULL_SECONDS

    def on_warm(self, key: ModelKey) -> None:
        """Take note that the node has loaded the model."""
        if key not in self._warm_since:
            self._loaded_at = self._warm_since[key] = self._now()

    def on_cold(self, key: ModelKey, *, evicted: bool) -> None:
        """Take note that the node has the model no more; `evicted`: no gateway asked for that."""
        since = self._warm_since.pop(key, None)
        if evicted and since is not None and self._now() - since < _SOON_SECONDS:
            self.mark_full(key)

    def on_unloaded(self, key: ModelKey, *, loading: bool) -> None:
        """The same, where only a load at that time, which `loading` may say, tells that it was evicted."""
        loaded = self._now() - self._loaded_at < _MEANWHILE_SECONDS
        self.on_cold(key, evicted=loading or loaded)

    def on_lost(self) -> None:
        """Forget what was loaded."""
        self._warm_since.clear()
