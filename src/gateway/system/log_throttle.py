"""Throttling of log lines about rejected requests."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_INTERVAL_SECONDS: Final = 10.0
_MAX_KINDS: Final = 1_000


class LogThrottle:
    """A throttle that allows one log line of a kind in `interval` seconds, and counts the suppressed ones.

    An overloaded gateway rejects thousands of requests each second. A line for each would cost more than the
    rejection and hide the rest of the log. The metrics count all of them.
    """

    def __init__(
        self, interval: float = _INTERVAL_SECONDS, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._interval = interval
        self._clock = clock
        self._entries: LRUCache[Hashable, tuple[float, int]] = LRUCache(_MAX_KINDS)

    def suppressed_if_due(self, kind: Hashable) -> int | None:
        """Return the number of lines suppressed since the last one, or None to suppress this one."""
        now = self._clock()
        logged_at, suppressed = self._entries.get(kind, (float("-inf"), 0))
        if now - logged_at < self._interval:
            self._entries[kind] = (logged_at, suppressed + 1)
            return None
        self._entries[kind] = (now, 0)
        return suppressed
