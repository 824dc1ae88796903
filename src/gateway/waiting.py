"""Requests that wait for their version to be loaded: so many for each, as may wait for one that is."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workers.pool import QUEUE_REFUSALS, QueueFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.pool import ModelKey, Tally


class Waiting:
    """Counts those who wait, per version."""

    def __init__(self, most: int, *, tally: Tally) -> None:
        """`most` for one version; `tally` is where those who are turned away are counted."""
        self.most = most
        self._tally = tally
        self._counts: Counter[ModelKey] = Counter()

    @contextmanager
    def one(self, key: ModelKey) -> Iterator[None]:
        """One more waits, until the block ends. Raises QueueFull."""
        if self._counts[key] >= self.most:
            self._tally.count(QUEUE_REFUSALS, key.name, key.version)
            raise QueueFull(f"{self._counts[key]} requests wait for this version to be loaded.")
        self._counts[key] += 1
        try:
            yield
        finally:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
