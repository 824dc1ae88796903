"""The least and the greatest value of each metric: all that is kept of many versions to tell the best."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.domain.refs import Order


class Aged(Protocol):
    """Something that is greater than what is older."""

    def __gt__(self, other: Any, /) -> bool: ...


W = TypeVar("W", bound=Aged)
V = TypeVar("V", bound=Aged)


class Extremes(Generic[W]):
    """Of each metric the least and the greatest value, and whose it is: of equals the newest's."""

    def __init__(self) -> None:
        self._least: dict[str, tuple[float, W]] = {}
        self._greatest: dict[str, tuple[float, W]] = {}

    def add(self, who: W, metrics: Mapping[str, float]) -> None:
        """Take the metrics of one more into account."""
        for name, value in metrics.items():
            if not counts(value):
                continue
            least, greatest = self._least.get(name), self._greatest.get(name)
            if least is None or value < least[0] or (value == least[0] and who > least[1]):
                self._least[name] = value, who
            if greatest is None or value > greatest[0] or (value == greatest[0] and who > greatest[1]):
                self._greatest[name] = value, who

    @property
    def metrics(self) -> list[str]:
        """The metrics that anybody has a value of, by name."""
        return sorted(self._least)

    def best(self, metric: str, order: Order) -> tuple[float, W]:
        """The best value of a metric that there is, and whose it is."""
        return (self._least if order == "min" else self._greatest)[metric]

    def named(self, name: Callable[[W], V]) -> Extremes[V]:
        """The same under other names, whose order must be that of these."""
        other: Extremes[V] = Extremes()
        other._least = {metric: (value, name(who)) for metric, (value, who) in self._least.items()}
        other._greatest = {metric: (value, name(who)) for metric, (value, who) in self._greatest.items()}
        return other


def counts(value: float) -> bool:
    """NaN, infinity, and the largest double that MLflow stores for infinity, never win."""
    return math.isfinite(value) and abs(value) < sys.float_info.max
