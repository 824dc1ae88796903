"""Remembers failed downloads and builds, so that many requests cause few calls to what fails."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from cachetools import TTLCache

if TYPE_CHECKING:
    from gateway.errors import GatewayError

Key = TypeVar("Key", bound=Hashable)

_MAX_ENTRIES = 1000


class FetchBackoff(Generic[Key]):
    """A record of what failed less than `seconds` seconds ago, such as downloads, with the error."""

    def __init__(self, seconds: float) -> None:
        self._failed: TTLCache[Key, GatewayError] = TTLCache(_MAX_ENTRIES, seconds)

    def record(self, key: Key, error: GatewayError) -> None:
        """Record that `key` has just failed; keep the error without its traceback."""
        self._failed[key] = _without_traceback(error)

    def raise_if_active(self, key: Key) -> None:
        """Raise the error of `key` if it failed recently."""
        error = self._failed.get(key)
        if error is not None:
            raise _without_traceback(error)


def _without_traceback(error: GatewayError) -> GatewayError:
    """Return a copy of the error with all its attributes, but without frames and causes."""
    kind = type(error)
    bare = kind.__new__(kind, *error.args)
    bare.__dict__.update(error.__dict__)
    return bare
