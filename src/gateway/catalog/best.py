"""Selects the best version by a metric and an order from the request, tags, settings or a table."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gateway.domain.models import BestChoice
from gateway.domain.refs import ORDERS
from gateway.errors import BestMetricUndecided

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.domain.models import ModelVersion
    from gateway.domain.refs import Best, Order

METRIC_TAG = "gateway.best.metric"
ORDER_TAG = "gateway.best.order"

WELL_KNOWN_METRICS: dict[str, Order] = {
    "rmse": "min",
    "root_mean_squared_error": "min",
    "mse": "min",
    "mean_squared_error": "min",
    "mae": "min",
    "mean_absolute_error": "min",
    "mape": "min",
    "mean_absolute_percentage_error": "min",
    "log_loss": "min",
    "logloss": "min",
    "loss": "min",
    "accuracy": "max",
    "accuracy_score": "max",
    "balanced_accuracy": "max",
    "f1": "max",
    "f1_score": "max",
    "roc_auc": "max",
    "roc_auc_score": "max",
    "auc": "max",
    "pr_auc": "max",
    "average_precision": "max",
    "r2": "max",
    "r2_score": "max",
    "precision": "max",
    "precision_score": "max",
    "recall": "max",
    "recall_score": "max",
    "max_error": "min",
    "median_absolute_error": "min",
    "perplexity": "min",
    "brier_score": "min",
    "ndcg": "max",
    "explained_variance": "max",
    "score": "max",
}
"""Well-known metrics and their order. By default the first of these that a model has decides."""

_PREFIXES = ("val_", "test_", "")
_OTHER_PREFIXES = ("validation_", "eval_", "train_", "training_")
_MAX_LISTED_METRICS = 50


class Ordered(Protocol):
    """A value that compares greater than an older one."""

    def __gt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=Ordered)
NewK = TypeVar("NewK", bound=Ordered)


class MetricExtremes(Generic[K]):
    """A record of the minimum and maximum of each metric, with the key of the version that has it.

    If several versions have the same value, the newest one is kept.
    """

    def __init__(self) -> None:
        self._minima: dict[str, tuple[float, K]] = {}
        self._maxima: dict[str, tuple[float, K]] = {}

    def add(self, key: K, metrics: Mapping[str, float]) -> None:
        """Include the metrics of one more version."""
        for name, value in metrics.items():
            if not is_comparable(value):
                continue
            minimum, maximum = self._minima.get(name), self._maxima.get(name)
            if minimum is None or value < minimum[0] or (value == minimum[0] and key > minimum[1]):
                self._minima[name] = value, key
            if maximum is None or value > maximum[0] or (value == maximum[0] and key > maximum[1]):
                self._maxima[name] = value, key

    @property
    def metric_names(self) -> list[str]:
        """The names of all metrics with a comparable value, sorted."""
        return sorted(self._minima)

    def best(self, metric: str, order: Order) -> tuple[float, K]:
        """Return the best value of a recorded metric and the key of its version."""
        return (self._minima if order == "min" else self._maxima)[metric]

    def map_keys(self, convert: Callable[[K], NewK]) -> MetricExtremes[NewK]:
        """Return the same extremes with converted keys; `convert` must keep the keys' order."""
        mapped: MetricExtremes[NewK] = MetricExtremes()
        mapped._minima = {metric: (value, convert(key)) for metric, (value, key) in self._minima.items()}
        mapped._maxima = {metric: (value, convert(key)) for metric, (value, key) in self._maxima.items()}
        return mapped


def is_comparable(value: float) -> bool:
    """Return False for NaN, infinity, and the largest double, as which MLflow stores infinity."""
    return math.isfinite(value) and abs(value) < sys.float_info.max


@dataclass(frozen=True, slots=True)
class Preference:
    """A metric and an order as tags or settings name them; either is empty if not named."""

    metric: str = ""
    order: str = ""

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Preference:
        """Return the preference in a model's own tags."""
        return cls(tags.get(METRIC_TAG, "").strip(), tags.get(ORDER_TAG, "").strip())


def choose_from_versions(
    versions: Iterable[ModelVersion], selector: Best, *, preferences: Iterable[Preference]
) -> BestChoice:
    """Return the best of `versions`, all of them READY, as `choose_from_extremes` does."""
    return choose_from_extremes(collect_extremes(versions), selector, preferences=preferences)


def collect_extremes(versions: Iterable[ModelVersion]) -> MetricExtremes[int]:
    """Return the extremes of the versions' metrics, keyed by version number."""
    extremes: MetricExtremes[int] = MetricExtremes()
    for version in versions:
        extremes.add(int(version.version), version.metrics)
    return extremes


def choose_from_extremes(
    extremes: MetricExtremes[int], selector: Best, *, preferences: Iterable[Preference]
) -> BestChoice:
    """Return the best version in `extremes`, whose keys are version numbers.

    If `selector` has no metric or no order, the first preference that names one decides, then the
    well-known metrics. Raise BestMetricUndecided, naming the available metrics, if neither does.
    """
    preferences, available = tuple(preferences), extremes.metric_names
    metric = selector.metric or _preferred_metric(preferences) or _default_metric(available)
    if metric not in available:
        raise BestMetricUndecided(
            f"No READY version has a finite value of the metric {metric!r}. {_list_metrics(available)}"
        )
    order = selector.order or _resolve_order(metric, preferences)
    value, number = extremes.best(metric, order)
    return BestChoice(str(number), metric, value, order)


def _preferred_metric(preferences: Iterable[Preference]) -> str:
    return next((preference.metric for preference in preferences if preference.metric), "")


def _default_metric(available: Sequence[str]) -> str:
    if len(available) == 1:
        return available[0]
    by_lower_case = {name.lower(): name for name in reversed(available)}
    for name in _well_known_names():
        if name in by_lower_case:
            return by_lower_case[name]
    raise BestMetricUndecided(f"Name a metric: ?metric=…&order=min or max. {_list_metrics(available)}")


def _well_known_names() -> Iterator[str]:
    for name in WELL_KNOWN_METRICS:
        for prefix in _PREFIXES:
            yield prefix + name


def _resolve_order(metric: str, preferences: Iterable[Preference]) -> Order:
    for preference in preferences:
        # An order that was set together with one metric does not apply to another.
        if preference.order and preference.metric in {"", metric}:
            return _validate_order(preference.order)
    known = _well_known_order(metric.lower())
    if known is None:
        raise BestMetricUndecided(
            f"The order of the metric {metric!r} is not known: add order=min or order=max."
        )
    return known


def _validate_order(order: str) -> Order:
    if order not in ORDERS:
        raise BestMetricUndecided(f"The tag {ORDER_TAG} must be min or max.")
    return ORDERS[order]


def _well_known_order(metric: str) -> Order | None:
    for prefix in (*_PREFIXES, *_OTHER_PREFIXES):
        if metric.startswith(prefix) and metric.removeprefix(prefix) in WELL_KNOWN_METRICS:
            return WELL_KNOWN_METRICS[metric.removeprefix(prefix)]
    return None


def _list_metrics(available: Sequence[str]) -> str:
    if not available:
        return "No READY version has any metric with a finite value."
    more = len(available) - _MAX_LISTED_METRICS
    return (
        f"Available: {', '.join(available[:_MAX_LISTED_METRICS])}{f' and {more} more' if more > 0 else ''}."
    )
