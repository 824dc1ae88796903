"""Which model versions are told apart where something is counted by version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER: Final = ("other", "other")
"""What the other versions are counted as; no version has such a name."""

_MOST: Final = 1_000


class Versions:
    """The names of the versions that are told apart, a thousand at most, however many there are in a year.

    For a further one that one gives way of which nothing was counted for the longest time. What was counted
    of it is the others' from then on, so that sums stay true.
    """

    def __init__(
        self,
        *,
        counted: Callable[[tuple[str, str]], float],
        fold: Callable[[tuple[str, str]], None],
        most: int = _MOST,
    ) -> None:
        """`counted` tells how much was counted of a version; `fold` adds that to the others'."""
        self._counted = counted
        self._fold = fold
        self._most = most
        self._seen: dict[tuple[str, str], float] = {}

    def admit(self, name: str, version: str) -> None:
        """Tell a version apart from now on. Takes a millisecond where there are a thousand others."""
        if (name, version) in self._seen:
            return
        self._put_in_order()
        if len(self._seen) >= self._most:
            oldest = next(iter(self._seen))
            del self._seen[oldest]
            self._fold(oldest)
        self._seen[name, version] = 0.0

    def _put_in_order(self) -> None:
        """Have those last of which something was counted since the last look: nobody tells when it is."""
        counted = {version: self._counted(version) for version in self._seen}
        for version, number in counted.items():
            if number != self._seen[version]:
                del self._seen[version]
                self._seen[version] = number
