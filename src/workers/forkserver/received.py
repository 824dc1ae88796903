"""Descriptors that came with an order, in the process that the order starts.

What is pickled in an order names a descriptor by its place among them.
"""

from __future__ import annotations

descriptors: list[int] = []
"""Those of this process' order."""


class ReceivedDescriptor:
    """A reference to a descriptor, as `multiprocessing.reduction.DupFd` returns it."""

    def __init__(self, index: int) -> None:
        self._index = index

    def detach(self) -> int:
        """Return the descriptor, which belongs to the caller from now on."""
        return descriptors[self._index]
