"""Requests that failed, in the log: those turned away for one reason are told together."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

_INTERVAL_SECONDS: Final = 10.0
_MAX_KINDS: Final = 1_000


class LogThrottle:
    """Lets one complaint of a kind through in so many seconds, with how many were kept back since the last.

    Under overload thousands are turned away each second: a line for each would cost more than the refusal,
    and hide what else is in the log. The metrics count all of them.
    """

    def __init__(self, interval: float = _INTERVAL_SECONDS) -> None:
        self._interval = interval
        self._entries: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def suppressed_if_due(self, kind: Hashable) -> int | None:
        """How many of the kind were kept back, where one is to be told now; None where it is not."""
        now = monotonic()
        when, kept_back = self._entries.get(kind, (float("-inf"), 0))
        if now - when < self._interval:
            self._entries[kind] = (when, kept_back + 1)
            return None
        self._entries.pop(kind, None)
        self._entries[kind] = (now, 0)
        if len(self._entries) > _MAX_KINDS:
            self._entries.popitem(last=False)
        return kept_back
