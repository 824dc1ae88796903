"""Remembers failed model loads, so that a broken model is not loaded again for every request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from workers.backoff import Backoff
from workers.errors import ModelLoadError

if TYPE_CHECKING:
    from workers.protocol.messages import ModelKey

INITIAL_RETRY_SECONDS: Final = 5.0
_MAX_RETRY_SECONDS: Final = 300.0
_MAX_ENTRIES: Final = 1_000


@dataclass(slots=True)
class _FailedLoad:
    backoff: Backoff
    error: ModelLoadError
    retry_at: float


class LoadBackoff:
    """A bounded record of failed loads, with a growing pause for each model version.

    The pause is `initial_seconds` after the first failure, and doubles with each further one up to 300 s.
    """

    def __init__(self, initial_seconds: float = INITIAL_RETRY_SECONDS) -> None:
        self._initial_seconds = initial_seconds
        self._failures: LRUCache[ModelKey, _FailedLoad] = LRUCache(_MAX_ENTRIES)

    def record(self, key: ModelKey, error: ModelLoadError) -> float:
        """Record a failed load, and return the seconds until the next attempt.

        Only the texts of `error` are kept: its traceback refers to the worker and its open pipes.
        """
        last = self._failures.get(key)
        backoff = Backoff(self._initial_seconds, _MAX_RETRY_SECONDS) if last is None else last.backoff
        pause = backoff.next_delay()
        retry_at = asyncio.get_running_loop().time() + pause
        self._failures[key] = _FailedLoad(backoff, ModelLoadError(str(error), log=error.log), retry_at)
        return pause

    def clear(self, key: ModelKey) -> None:
        """Forget a version's failures after a successful load."""
        self._failures.pop(key, None)

    def active(self, key: ModelKey) -> ModelLoadError | None:
        """Return the version's last failure while its pause lasts, else None."""
        failure = self._failures.get(key)
        if failure is None or failure.retry_at <= asyncio.get_running_loop().time():
            return None
        return failure.error

    def all_active(self) -> dict[ModelKey, ModelLoadError]:
        """Return the last failure of each version whose pause lasts."""
        now = asyncio.get_running_loop().time()
        return {key: failure.error for key, failure in self._failures.items() if failure.retry_at > now}
