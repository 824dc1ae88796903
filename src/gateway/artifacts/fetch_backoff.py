"""Remembers failed downloads for a short time, so that many requests cause few calls to a failing store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachetools import TTLCache

if TYPE_CHECKING:
    from gateway.errors import GatewayError
    from workers.protocol.messages import ModelKey

_MAX_ENTRIES = 1000


class FetchBackoff:
    """A record of the models whose download failed less than `seconds` seconds ago, with the error."""

    def __init__(self, seconds: float) -> None:
        self._failed: TTLCache[ModelKey, GatewayError] = TTLCache(_MAX_ENTRIES, seconds)

    def record(self, key: ModelKey, error: GatewayError) -> None:
        """Record that the download of `key` has just failed; keep the error without its traceback."""
        self._failed[key] = _without_traceback(error)

    def raise_if_active(self, key: ModelKey) -> None:
        """Raise the error of a recent failed download of `key`, if there is one."""
        error = self._failed.get(key)
        if error is not None:
            raise _without_traceback(error)


def _without_traceback(error: GatewayError) -> GatewayError:
    """Return a copy of the error with all its attributes, but without frames and causes."""
    kind = type(error)
    bare = kind.__new__(kind, *error.args)
    bare.__dict__.update(error.__dict__)
    return bare
