"""The least and the greatest value of each metric: all that is kept of many versions to tell the best."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.domain.refs import Order


class Ordered(Protocol):
    """Something that is greater than what is older."""

    def __gt__(self, other: Any, /) -> bool: ...


W = TypeVar("W", bound=Ordered)
V = TypeVar("V", bound=Ordered)


class MetricExtremes(Generic[W]):
    """Of each metric the least and the greatest value, and whose it is: of equals the newest's."""

    def __init__(self) -> None:
        self._minima: dict[str, tuple[float, W]] = {}
        self._maxima: dict[str, tuple[float, W]] = {}

    def add(self, key: W, metrics: Mapping[str, float]) -> None:
        """Take the metrics of one more into account."""
        for name, value in metrics.items():
            if not is_comparable(value):
                continue
            least, greatest = self._minima.get(name), self._maxima.get(name)
            if least is None or value < least[0] or (value == least[0] and key > least[1]):
                self._minima[name] = value, key
            if greatest is None or value > greatest[0] or (value == greatest[0] and key > greatest[1]):
                self._maxima[name] = value, key

    @property
    def metric_names(self) -> list[str]:
        """The metrics that anybody has a value of, by name."""
        return sorted(self._minima)

    def best(self, metric: str, order: Order) -> tuple[float, W]:
        """The best value of a metric that there is, and whose it is."""
        return (self._minima if order == "min" else self._maxima)[metric]

    def map_keys(self, name: Callable[[W], V]) -> MetricExtremes[V]:
        """The same under other names, whose order must be that of these."""
        other: MetricExtremes[V] = MetricExtremes()
        other._minima = {metric: (value, name(who)) for metric, (value, who) in self._minima.items()}
        other._maxima = {metric: (value, name(who)) for metric, (value, who) in self._maxima.items()}
        return other


def is_comparable(value: float) -> bool:
    """NaN, infinity, and the largest double that MLflow stores for infinity, never win."""
    return math.isfinite(value) and abs(value) < sys.float_info.max
