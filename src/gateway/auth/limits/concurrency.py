"""The requests in progress of each principal, in this process."""

from __future__ import annotations


class ConcurrentRequests:
    """A counter of requests in progress by the name of their principal, for those that have any."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, name: str) -> int:
        """Return how many are in progress."""
        return self._counts.get(name, 0)

    def add(self, name: str) -> None:
        """Count one more."""
        self._counts[name] = self._counts.get(name, 0) + 1

    def remove(self, name: str) -> None:
        """Count one less."""
        left = self._counts[name] - 1
        if left:
            self._counts[name] = left
        else:
            del self._counts[name]
