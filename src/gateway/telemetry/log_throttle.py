"""Requests that failed, in the log: those turned away for one reason are told together."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

_EVERY_SECONDS: Final = 10.0
_MOST_KINDS: Final = 1_000


class Complaints:
    """Lets one complaint of a kind through in so many seconds, with how many were kept back since the last.

    Under overload thousands are turned away each second: a line for each would cost more than the refusal,
    and hide what else is in the log. The metrics count all of them.
    """

    def __init__(self, every: float = _EVERY_SECONDS) -> None:
        self._every = every
        self._told: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def due(self, kind: Hashable) -> int | None:
        """How many of the kind were kept back, where one is to be told now; None where it is not."""
        now = monotonic()
        when, kept_back = self._told.get(kind, (float("-inf"), 0))
        if now - when < self._every:
            self._told[kind] = (when, kept_back + 1)
            return None
        self._told.pop(kind, None)
        self._told[kind] = (now, 0)
        if len(self._told) > _MOST_KINDS:
            self._told.popitem(last=False)
        return kept_back
