"""What an order has in place of the gateway's own objects, in the process that the order starts.

A process imports nothing else to read its order.
"""

from __future__ import annotations

import threading

descriptors: list[int] = []
"""Those that came with this process' order."""


class ReceivedDescriptor:
    """A reference to a descriptor by its place, as `multiprocessing.reduction.DupFd` returns it."""

    def __init__(self, index: int) -> None:
        self._index = index

    def detach(self) -> int:
        """Return the descriptor, which belongs to the caller from now on."""
        return descriptors[self._index]


class NoResults:
    """What the process has in place of the executor's queue of results."""

    def put(self, result: object) -> None:
        """Refuse a result: the executor's call never returns one."""
        raise RuntimeError(f"the executor's call ended with {type(result).__name__}, which it must not")


def new_lock() -> threading.Lock:
    """Return what takes the place of a lock that only the gateway's threads share."""
    return threading.Lock()


def new_semaphore() -> threading.Semaphore:
    """Return what takes the place of a semaphore, which the process only releases."""
    return threading.Semaphore()
