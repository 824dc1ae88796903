"""Which version is best: by a metric and an order that are asked for, set, or well known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.catalog.extremes import Extremes
from gateway.domain.models import BestChoice
from gateway.domain.refs import ORDERS
from gateway.errors import BestUndecided

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.domain.models import ModelVersion
    from gateway.domain.refs import Best, Order

METRIC_TAG = "gateway.best.metric"
ORDER_TAG = "gateway.best.order"

WELL_KNOWN: dict[str, Order] = {
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

_FORMS = ("val_", "test_", "")
_OTHER_FORMS = ("validation_", "eval_", "train_", "training_")
_NAMED_AT_MOST = 50


@dataclass(frozen=True, slots=True)
class Preference:
    """A metric, an order, or both, as tags or settings name them; empty where they do not."""

    metric: str = ""
    order: str = ""

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Preference:
        """What a model's own tags prefer."""
        return cls(tags.get(METRIC_TAG, "").strip(), tags.get(ORDER_TAG, "").strip())


def choose(versions: Sequence[ModelVersion], wish: Best, *, preferences: Iterable[Preference]) -> BestChoice:
    """The best of `versions`, which are READY and come newest first; as `decide`."""
    return decide(extremes_of(versions), wish, preferences=preferences)


def extremes_of(versions: Iterable[ModelVersion]) -> Extremes[int]:
    """The extremes of the versions' metrics, by the versions' numbers."""
    found: Extremes[int] = Extremes()
    for version in versions:
        found.add(int(version.version), version.metrics)
    return found


def decide(extremes: Extremes[int], wish: Best, *, preferences: Iterable[Preference]) -> BestChoice:
    """The best of the versions whose numbers and metrics `extremes` are of.

    What `wish` leaves open is decided by the first of `preferences` that names it, then by what
    metrics there are. Raises BestUndecided naming the metrics there are.
    """
    preferences, there = tuple(preferences), extremes.metrics
    metric = wish.metric or _preferred(preferences) or _usual(there)
    if metric not in there:
        raise BestUndecided(f"No READY version has a finite value of the metric {metric!r}. {_naming(there)}")
    order = wish.order or _order(metric, preferences)
    value, number = extremes.best(metric, order)
    return BestChoice(str(number), metric, value, order)


def _preferred(preferences: Iterable[Preference]) -> str:
    return next((preference.metric for preference in preferences if preference.metric), "")


def _usual(there: Sequence[str]) -> str:
    if len(there) == 1:
        return there[0]
    spelled = {name.lower(): name for name in reversed(there)}
    for name in _well_known_forms():
        if name in spelled:
            return spelled[name]
    raise BestUndecided(f"Say by which metric: ?metric=…&order=min or max. {_naming(there)}")


def _well_known_forms() -> Iterator[str]:
    for name in WELL_KNOWN:
        for form in _FORMS:
            yield form + name


def _order(metric: str, preferences: Iterable[Preference]) -> Order:
    for preference in preferences:
        # An order that was written beside one metric says nothing about another.
        if preference.order and preference.metric in {"", metric}:
            return _checked(preference.order)
    known = _known_order(metric.lower())
    if known is None:
        raise BestUndecided(
            f"Say whether the metric {metric!r} is better small or large: order=min or order=max."
        )
    return known


def _checked(order: str) -> Order:
    if order not in ORDERS:
        raise BestUndecided(f"The tag {ORDER_TAG} must be min or max.")
    return ORDERS[order]


def _known_order(metric: str) -> Order | None:
    for form in (*_FORMS, *_OTHER_FORMS):
        if metric.startswith(form) and metric.removeprefix(form) in WELL_KNOWN:
            return WELL_KNOWN[metric.removeprefix(form)]
    return None


def _naming(there: Sequence[str]) -> str:
    if not there:
        return "No READY version has any metric with a finite value."
    more = f" and {len(there) - _NAMED_AT_MOST} more" if len(there) > _NAMED_AT_MOST else ""
    return f"There are: {', '.join(there[:_NAMED_AT_MOST])}{more}."
