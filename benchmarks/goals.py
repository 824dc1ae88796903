"""What the gateway is to reach, as ratios within one run and as a few absolute limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS, DOUBLE, ECHO, GATEWAY, MLFLOW, PLAIN_MLSERVER, UNMERGED
from benchmarks.results import P50, P99, PER_SECOND, ROWS_PER_SECOND
from benchmarks.scenarios import cold, connections, forest, growth, memory, rows, several

if TYPE_CHECKING:
    from benchmarks.results import Results

Found = Callable[["Results"], float | None]
OTHERS = tuple(one.name for one in CONTENDERS if one.role == "other")
PEERS = (MLFLOW, *OTHERS)
LIGHT_MS = 10.0


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its limit: it is reached at or above it, or at or below it where `at_most`."""

    text: str
    limit: float
    found: Found
    at_most: bool = False
    unit: str = "x"

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'≤' if self.at_most else '≥'} {self.limit:g} {self.unit}"

    def reached(self, value: float) -> bool:
        """Whether `value` is what is wanted."""
        return value <= self.limit if self.at_most else value >= self.limit


def _of(scenario: str, case: str, contender: str, figure: str = PER_SECOND) -> Found:
    return lambda results: results.value(scenario, case, contender, figure)


def _best(scenario: str, case: str, *, least: bool = False, names: Iterable[str] = OTHERS) -> Found:
    """The most requests per second of these contenders, or the least median time."""
    figure, end = (P50, min) if least else (PER_SECOND, max)

    def found(results: Results) -> float | None:
        values = [results.value(scenario, case, name, figure) for name in names]
        return end((value for value in values if value is not None), default=None)

    return found


def _ratio(one: Found, other: Found) -> Found:
    def found(results: Results) -> float | None:
        above, below = one(results), other(results)
        return above / below if above is not None and below else None

    return found


def _spread(results: Results) -> float | None:
    """The largest p99 of the four models over the smallest."""
    found = [results.value(several.NAME, several.of(model), GATEWAY, P99) for model in several.MODELS]
    values = [value for value in found if value is not None]
    return max(values) / min(values) if values else None


def _flatness(how: str) -> Found:
    """Requests per second with the most registered models over that with the fewest, each over the echo's."""

    def found(results: Results) -> float | None:
        shares = [
            _ratio(
                _of(growth.NAME, growth.case(models, how), GATEWAY),
                _of(growth.NAME, growth.case(models, ECHO), ECHO),
            )(results)
            for models in growth.SIZES
        ]
        there = [share for share in shares if share is not None]
        return there[-1] / there[0] if len(there) > 1 else None

    return found


def _versus(name: str, other: Found | str, limit: float, *, count: int, ours: str = GATEWAY) -> Goal:
    case = connections.case(count)
    found = _of(connections.NAME, case, other) if isinstance(other, str) else other
    ratio = _ratio(_of(connections.NAME, case, ours), found)
    return Goal(f"{ours}, {count} connections: req/s, times {name}", limit, ratio)


def _others(limit: float, *, count: int) -> Goal:
    best = _best(connections.NAME, connections.case(count))
    return _versus("the best other peer's", best, limit, count=count)


def _large(size: int, count: int) -> list[Goal]:
    case = rows.case(size, count)
    ours = _of(rows.NAME, case, GATEWAY, ROWS_PER_SECOND)
    mlflow = _of(rows.NAME, case, MLFLOW, ROWS_PER_SECOND)
    plain = _ratio(_of(rows.NAME, case, GATEWAY), _best(rows.NAME, case, names=PEERS))
    return [
        Goal(f"{case} connections: rows/s, times {MLFLOW}", 5, _ratio(ours, mlflow)),
        Goal(f"{case} connections: rows/s, times the best peer's", 1, plain),
        *(
            Goal(
                f"beside {case}: light client's {ask}, p99",
                LIGHT_MS,
                _of(rows.LIGHT, rows.beside(ask, size, count), GATEWAY, P99),
                at_most=True,
                unit="ms",
            )
            for ask in rows.ASKS
        ),
    ]


_ONE = connections.case(1)
_P50 = _of(connections.NAME, _ONE, GATEWAY, P50)
_COLD = _of(cold.NAME, cold.CASE, GATEWAY, cold.MEDIAN)
GOALS = (
    _versus(ECHO, ECHO, 0.45, count=64),
    _versus(ECHO, ECHO, 0.45, count=256),
    _versus(MLFLOW, MLFLOW, 60, count=64),
    _versus(MLFLOW, MLFLOW, 90, count=256),
    _others(9, count=64),
    _others(12, count=256),
    _others(4, count=16),
    _versus(MLFLOW, MLFLOW, 12, count=64, ours=UNMERGED),
    _versus(PLAIN_MLSERVER, PLAIN_MLSERVER, 4, count=64, ours=UNMERGED),
    *(_versus(f"{GATEWAY}'s", GATEWAY, 1.3, count=count, ours=DOUBLE) for count in (64, 256)),
    Goal(
        f"1 connection: p50 over {MLFLOW}'s",
        0.25,
        _ratio(_P50, _of(connections.NAME, _ONE, MLFLOW, P50)),
        at_most=True,
    ),
    Goal(
        "1 connection: p50 over the best peer's",
        0.5,
        _ratio(_P50, _best(connections.NAME, _ONE, least=True, names=PEERS)),
        at_most=True,
    ),
    Goal(
        f"forest, 64 connections: req/s, times {MLFLOW}",
        20,
        _ratio(_of(forest.NAME, forest.CASE, GATEWAY), _of(forest.NAME, forest.CASE, MLFLOW)),
    ),
    *(goal for size, count in rows.SIZES for goal in _large(size, count)),
    Goal("cold to the first answer, median", 0.3, _COLD, at_most=True, unit="s"),
    Goal(
        f"cold over {MLFLOW}'s start",
        0.05,
        _ratio(_COLD, _of(cold.NAME, cold.CASE, MLFLOW, cold.MEDIAN)),
        at_most=True,
    ),
    Goal(
        "memory of the whole with one warm model",
        300,
        _of(memory.NAME, memory.WARM, GATEWAY, memory.MEBIBYTES),
        at_most=True,
        unit="MiB",
    ),
    Goal(
        "memory of each further warm linear model",
        30,
        _of(memory.NAME, memory.FURTHER, GATEWAY, memory.MEBIBYTES),
        at_most=True,
        unit="MiB",
    ),
    Goal(
        "four models at once: sum of req/s over that of one",
        0.8,
        _of(several.NAME, several.SUM, GATEWAY, several.SHARE),
    ),
    Goal("four models at once: largest p99 over the smallest", 3, _spread, at_most=True),
    *(
        Goal(f"most registered models over fewest, {how}: req/s, each over the echo's", 0.9, _flatness(how))
        for how in growth.REFS
    ),
)
