"""Requests by how they were answered: plain numbers, counted on the way of every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from workers.pool import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.pool import ModelKey

REQUESTS: Final = Event(
    "requests",
    "Requests by how they were answered; 499: the client went away before; 503 also: given up at shutdown.",
    ("method", "route", "status"),
)
INVOCATIONS: Final = Event(
    "invocations",
    "Requests for predictions whose model and version were found, by how they were answered.",
    ("model", "version", "status"),
)
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the histogram's buckets in seconds; one more bucket has no end."""
CLIENT_GONE: Final = 499
"""What stands for a status where the client went away before it was answered, as nginx has it."""

_MOST_VERSIONS: Final = 1_000
_OTHERS: Final = ("other", "other")  # no version has such a name

Labels = tuple[str, ...]
Cell = list[float]
"""How many requests took how long, a number per bucket; then the sum of their seconds."""


class Place(NamedTuple):
    """A method of a route's pattern, and whether it predicts."""

    method: str
    route: str
    predicts: bool


class Traffic:
    """Holds a cell for whatever is told apart; whoever counts adds to it without asking again.

    A version that comes after a thousand others is counted as `other`.
    """

    def __init__(self) -> None:
        self._cells: dict[tuple[Place, int, Labels], Cell] = {}
        self._versions: set[Labels] = set()

    def cell(self, place: Place, status: int, *, key: ModelKey | None) -> Cell:
        """Where to count requests that were answered so; `key` is the version that was to predict."""
        version = self._named(key) if key is not None and place.predicts else ()
        return self._cells.setdefault((place, status, version), [0.0] * (len(BOUNDS) + 2))

    def copy(self) -> Traffic:
        """The counts of this moment, for a thread to read."""
        copied = Traffic()
        copied._cells = {kind: cell.copy() for kind, cell in self._cells.items()}
        return copied

    def _named(self, key: ModelKey) -> Labels:
        version = (key.name, key.version)
        if version not in self._versions:
            if len(self._versions) >= _MOST_VERSIONS:
                return _OTHERS
            self._versions.add(version)
        return version

    def requests(self) -> Iterator[tuple[Labels, float]]:
        """Counts of `REQUESTS`; those of the same labels belong together."""
        for (place, status, _), cell in self._cells.items():
            yield (place.method, place.route, str(status)), sum(cell[:-1])

    def invocations(self) -> Iterator[tuple[Labels, float]]:
        """Counts of `INVOCATIONS`; those of the same labels belong together."""
        for (_, status, version), cell in self._cells.items():
            if version:
                yield (*version, str(status)), sum(cell[:-1])

    def times(self) -> Iterator[tuple[Labels, Cell]]:
        """How long predictions took, by `2xx` and its like; cells of the same labels belong together."""
        for (place, status, _), cell in self._cells.items():
            if place.predicts:
                yield (f"{status // 100}xx",), cell
