"""The large bodies of one link that have no answer yet, which are bounded together."""

from __future__ import annotations


class HeldBodies:
    """A count of large bodies, by job: at most `most` bytes, unless it is one body alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._total = 0
        self.sizes: dict[int, int] = {}

    def add(self, job_id: int, size: int) -> bool:
        """Count the body of a job, or return False if there is no room for it."""
        if self.sizes and self._total + size > self._most:
            return False
        self.sizes[job_id] = size
        self._total += size
        return True

    def discard(self, job_id: int) -> None:
        """Forget the body of a job, if it was counted."""
        self._total -= self.sizes.pop(job_id, 0)
