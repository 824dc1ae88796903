"""Counts wrong credentials by address and by user name, and refuses more of them without asking MLflow."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.auth.errors import LimitExceeded
from gateway.auth.limits.addresses import address_name
from gateway.mlflow_client import NotAuthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.auth.mlflow.bounds import Bounds

_MAX_KEYS: Final = 20_000
_TOO_MANY: Final = "Too many wrong passwords or tokens came from this address, or for this user."


class FailureLimiter:
    """A limit of the failures in a time, for each of some keys."""

    def __init__(self, bounds: Bounds, *, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._failures: LRUCache[str, deque[float]] = LRUCache(_MAX_KEYS)
        self._running: Counter[str] = Counter()

    def check(self, keys: Sequence[str]) -> None:
        """Raise LimitExceeded if one of `keys` has no attempt left, counting those that run."""
        for key in keys:
            failures = self._failures.get(key, ())
            recent = [time for time in failures if self._clock() - time < self._bounds.failure_window]
            if len(recent) + self._running[key] >= self._bounds.failures:
                wait = self._bounds.failure_window - (self._clock() - recent[0]) if recent else 1.0
                raise LimitExceeded(_TOO_MANY, wait_seconds=wait, source="mlflow", limit="failures")

    @contextmanager
    def attempt(self, keys: Sequence[str]) -> Iterator[None]:
        """Count the block as running, and as a failure if it raises NotAuthenticated; raise LimitExceeded."""
        self.check(keys)
        self._running.update(keys)
        try:
            yield
        except NotAuthenticated:
            self.record(keys)
            raise
        finally:
            self._running.subtract(keys)
            for key in keys:
                if not self._running[key]:
                    del self._running[key]

    def record(self, keys: Sequence[str]) -> None:
        """Count a failure."""
        for key in keys:
            if key not in self._failures:
                self._failures[key] = deque(maxlen=self._bounds.failures)
            self._failures[key].append(self._clock())


def address_key(address: str) -> str:
    """Return the key of a client's address: of IPv6 the network that one customer has."""
    return f"address {address_name(address)}"


def user_key(name: str) -> str:
    """Return the key of a user name; some databases do not tell upper from lower case."""
    return f"user {name.casefold()}"
