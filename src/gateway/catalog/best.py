"""Which version is best: by a metric and an order that are asked for, set, or well known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.catalog.extremes import MetricExtremes
from gateway.domain.models import BestChoice
from gateway.domain.refs import ORDERS
from gateway.errors import BestMetricUndecided

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
"""Well-known metrics and their order; of those that a model has, the first decides by default."""

_PREFIXES = ("val_", "test_", "")
_OTHER_PREFIXES = ("validation_", "eval_", "train_", "training_")
_MAX_LISTED_METRICS = 50


@dataclass(frozen=True, slots=True)
class Preference:
    """A metric, an order, or both, as tags or settings name them; empty where they do not."""

    metric: str = ""
    order: str = ""

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Preference:
        """What a model's own tags prefer."""
        return cls(tags.get(METRIC_TAG, "").strip(), tags.get(ORDER_TAG, "").strip())


def choose_from_versions(
    versions: Sequence[ModelVersion], wish: Best, *, preferences: Iterable[Preference]
) -> BestChoice:
    """The best of `versions`, which are READY and come newest first; as `decide`."""
    return choose_from_extremes(collect_extremes(versions), wish, preferences=preferences)


def collect_extremes(versions: Iterable[ModelVersion]) -> MetricExtremes[int]:
    """The extremes of the versions' metrics, by the versions' numbers."""
    found: MetricExtremes[int] = MetricExtremes()
    for version in versions:
        found.add(int(version.version), version.metrics)
    return found


def choose_from_extremes(
    extremes: MetricExtremes[int], wish: Best, *, preferences: Iterable[Preference]
) -> BestChoice:
    """The best of the versions whose numbers and metrics `extremes` are of.

    What `wish` leaves open is decided by the first of `preferences` that names it, then by what
    metrics there are. Raises BestUndecided naming the metrics there are.
    """
    preferences, there = tuple(preferences), extremes.metric_names
    metric = wish.metric or _preferred_metric(preferences) or _default_metric(there)
    if metric not in there:
        raise BestMetricUndecided(
            f"No READY version has a finite value of the metric {metric!r}. {_list_available_metrics(there)}"
        )
    order = wish.order or _resolve_order(metric, preferences)
    value, number = extremes.best(metric, order)
    return BestChoice(str(number), metric, value, order)


def _preferred_metric(preferences: Iterable[Preference]) -> str:
    return next((preference.metric for preference in preferences if preference.metric), "")


def _default_metric(there: Sequence[str]) -> str:
    if len(there) == 1:
        return there[0]
    spelled = {name.lower(): name for name in reversed(there)}
    for name in _well_known_names():
        if name in spelled:
            return spelled[name]
    raise BestMetricUndecided(
        f"Say by which metric: ?metric=…&order=min or max. {_list_available_metrics(there)}"
    )


def _well_known_names() -> Iterator[str]:
    for name in WELL_KNOWN_METRICS:
        for form in _PREFIXES:
            yield form + name


def _resolve_order(metric: str, preferences: Iterable[Preference]) -> Order:
    for preference in preferences:
        # An order that was written beside one metric says nothing about another.
        if preference.order and preference.metric in {"", metric}:
            return _validate_order(preference.order)
    known = _well_known_order(metric.lower())
    if known is None:
        raise BestMetricUndecided(
            f"Say whether the metric {metric!r} is better small or large: order=min or order=max."
        )
    return known


def _validate_order(order: str) -> Order:
    if order not in ORDERS:
        raise BestMetricUndecided(f"The tag {ORDER_TAG} must be min or max.")
    return ORDERS[order]


def _well_known_order(metric: str) -> Order | None:
    for form in (*_PREFIXES, *_OTHER_PREFIXES):
        if metric.startswith(form) and metric.removeprefix(form) in WELL_KNOWN_METRICS:
            return WELL_KNOWN_METRICS[metric.removeprefix(form)]
    return None


def _list_available_metrics(there: Sequence[str]) -> str:
    if not there:
        return "No READY version has any metric with a finite value."
    more = f" and {len(there) - _MAX_LISTED_METRICS} more" if len(there) > _MAX_LISTED_METRICS else ""
    return f"There are: {', '.join(there[:_MAX_LISTED_METRICS])}{more}."
