"""Which model versions are told apart where something is counted by version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER: Final = ("other", "other")
"""What the other versions are counted as; no version has such a name."""

_MAX_VERSIONS: Final = 1_000


class LabelLimiter:
    """The names of the versions that are told apart, a thousand at most, however many there are in a year.

    For a further one that one gives way of which nothing was counted for the longest time. What was counted
    of it is the others' from then on, so that sums stay true.
    """

    def __init__(
        self,
        *,
        total: Callable[[tuple[str, str]], float],
        merge_into_other: Callable[[tuple[str, str]], None],
        limit: int = _MAX_VERSIONS,
    ) -> None:
        """`counted` tells how much was counted of a version; `fold` adds that to the others'."""
        self._total = total
        self._merge_into_other = merge_into_other
        self._limit = limit
        self._last_totals: dict[tuple[str, str], float] = {}

    def track(self, name: str, version: str) -> None:
        """Tell a version apart from now on. Takes a millisecond where there are a thousand others."""
        if (name, version) in self._last_totals:
            return
        self._sort_by_activity()
        if len(self._last_totals) >= self._limit:
            oldest = next(iter(self._last_totals))
            del self._last_totals[oldest]
            self._merge_into_other(oldest)
        self._last_totals[name, version] = 0.0

    def _sort_by_activity(self) -> None:
        """Have those last of which something was counted since the last look: nobody tells when it is."""
        counted = {version: self._total(version) for version in self._last_totals}
        for version, number in counted.items():
            if number != self._last_totals[version]:
                del self._last_totals[version]
                self._last_totals[version] = number
