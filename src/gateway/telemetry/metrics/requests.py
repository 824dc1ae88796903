"""Requests by how they were answered: plain numbers, counted on the way of every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from workers.metrics import CounterSpec
from workers.versions import OTHER, LabelLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.protocol.messages import ModelKey

REQUESTS: Final = CounterSpec(
    "requests",
    "Requests by how they were answered; 499: the client went away before; 503 also: given up at shutdown.",
    ("method", "route", "status"),
)
INVOCATIONS: Final = CounterSpec(
    "invocations",
    "Requests for predictions whose model and version were found, by how they were answered.",
    ("model", "version", "status"),
)
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the histogram's buckets in seconds; one more bucket has no end."""
CLIENT_GONE: Final = 499
"""What stands for a status where the client went away before it was answered, as nginx has it."""

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

    Of the model versions only so many are told apart, see `LabelLimiter`. `forgotten` is called when cells that
    were handed out are not to be used any more.
    """

    def __init__(self) -> None:
        self._cells: dict[Labels, dict[tuple[Place, int], Cell]] = {}
        self._versions = LabelLimiter(total=self._counted, merge_into_other=self._fold)
        self.forgotten: Callable[[], None] = _nobody_asks

    def cell(self, place: Place, status: int, *, key: ModelKey | None) -> Cell:
        """Where to count requests that were answered so; `key` is the version that was to predict."""
        version: Labels = ()
        if key is not None and place.predicts:
            version = key.name, key.version
            self._versions.track(key.name, key.version)
        return self._cell(version, place, status)

    def copy(self) -> Traffic:
        """The counts of this moment, for a thread to read."""
        copied = Traffic()
        copied._cells = {
            version: {kind: cell.copy() for kind, cell in cells.items()}
            for version, cells in self._cells.items()
        }
        return copied

    def requests(self) -> Iterator[tuple[Labels, float]]:
        """Counts of `REQUESTS`; those of the same labels belong together."""
        for _, place, status, cell in self._all():
            yield (place.method, place.route, str(status)), sum(cell[:-1])

    def invocations(self) -> Iterator[tuple[Labels, float]]:
        """Counts of `INVOCATIONS`; those of the same labels belong together."""
        for version, _, status, cell in self._all():
            if version:
                yield (*version, str(status)), sum(cell[:-1])

    def times(self) -> Iterator[tuple[Labels, Cell]]:
        """How long predictions took, by `2xx` and its like; cells of the same labels belong together."""
        for _, place, status, cell in self._all():
            if place.predicts:
                yield (f"{status // 100}xx",), cell

    def _all(self) -> Iterator[tuple[Labels, Place, int, Cell]]:
        for version, cells in self._cells.items():
            for (place, status), cell in cells.items():
                yield version, place, status, cell

    def _cell(self, version: Labels, place: Place, status: int) -> Cell:
        cells = self._cells.setdefault(version, {})
        return cells.setdefault((place, status), [0.0] * (len(BOUNDS) + 2))

    def _counted(self, version: Labels) -> float:
        return sum(sum(cell[:-1]) for cell in self._cells[version].values())

    def _fold(self, version: Labels) -> None:
        for (place, status), cell in self._cells.pop(version).items():
            others = self._cell(OTHER, place, status)
            others[:] = [a + b for a, b in zip(others, cell, strict=True)]
        self.forgotten()


def _nobody_asks() -> None:
    """Nobody keeps cells."""
