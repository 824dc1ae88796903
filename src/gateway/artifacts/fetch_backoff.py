"""Fetches that failed, each left alone for a moment, so that a storm of requests is none for the store."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.errors import GatewayError
    from workers.protocol.messages import ModelKey

_MAX_ENTRIES = 1000


class FetchBackoff:
    """What went wrong with a model's files less than `seconds` ago."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failed: OrderedDict[ModelKey, tuple[float, GatewayError]] = OrderedDict()

    def record(self, key: ModelKey, error: GatewayError) -> None:
        """Note that fetching `key` has just failed: what is said of it, not the frames it came through."""
        self._failed.pop(key, None)
        self._failed[key] = monotonic() + self._seconds, _without_traceback(error)
        if len(self._failed) > _MAX_ENTRIES:
            self._failed.popitem(last=False)

    def raise_if_active(self, key: ModelKey) -> None:
        """Raises what went wrong with `key` while its rest lasts."""
        until, error = self._failed.get(key, (0.0, None))
        if error is None:
            return
        if monotonic() < until:
            raise _without_traceback(error)
        del self._failed[key]


def _without_traceback(error: GatewayError) -> GatewayError:
    """The same error, with whatever its class adds, and without the frames and errors that led to it."""
    kind = type(error)
    bare = kind.__new__(kind, *error.args)
    bare.__dict__.update(error.__dict__)
    return bare
