"""A delay between tries that grows with each failure."""

from __future__ import annotations


class Backoff:
    """An exponential backoff: the first delay is `initial` seconds, each further one twice the last.

    No delay is longer than `maximum` seconds. One object serves one thing that is tried again and again.
    """

    def __init__(self, initial: float, maximum: float) -> None:
        self._initial = initial
        self._maximum = maximum
        self._next = initial

    def next_delay(self) -> float:
        """Return the seconds to wait before the next try, and double the delay after that."""
        delay = self._next
        self._next = min(2 * delay, self._maximum)
        return delay

    def reset(self) -> None:
        """Start again at the initial delay, because a try succeeded."""
        self._next = self._initial
