"""Which version of a model is which, and why, in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.catalog.best import METRIC_TAG
from gateway.catalog.versions import READY

if TYPE_CHECKING:
    from gateway.domain.models import BestChoice, Model, ModelDetails


@dataclass(frozen=True, slots=True)
class Summary:
    """What tells which version of a model is which, and why. `versions` counts those that are READY."""

    model: Model
    best: BestChoice | None
    best_reason: str
    latest_reason: str
    versions: int


def summarize(details: ModelDetails, *, setting: str = "") -> Summary:
    """Return which version is which, and why; `setting` is the metric that the operator chose, if any."""
    ready = [version for version in details.versions if version.status == READY]
    return Summary(
        details.model,
        details.best,
        best_reason=_best_reason(details, ready=len(ready), setting=setting),
        latest_reason=_latest_reason(details),
        versions=len(ready),
    )


def _best_reason(details: ModelDetails, *, ready: int, setting: str) -> str:
    if not ready:
        return "no version is READY"
    choice = details.best
    if choice is None:
        return (
            f"no metric decides: the {METRIC_TAG} tag or GATEWAY_BEST_METRIC can name one,"
            " or ?metric=…&order=… in a request"
        )
    compared = f"the {'highest' if choice.order == 'max' else 'lowest'} {choice.metric}"
    if details.model.tags.get(METRIC_TAG, "").strip() == choice.metric:
        why = f"the model's tag {METRIC_TAG} names this metric"
    elif setting == choice.metric:
        why = "GATEWAY_BEST_METRIC names this metric"
    else:
        why = "the first of the well-known metrics that its versions have"
    return f"{compared} of {ready} READY {'version' if ready == 1 else 'versions'}; {why}"


def _latest_reason(details: ModelDetails) -> str:
    latest = details.model.latest
    if latest is None:
        return "no version is READY"
    newer = []
    for version in details.versions:
        if version.version == latest:
            break
        newer.append(version)
    if not newer:
        return "the newest version, and it is READY"
    first = newer[0]
    more = f" and {len(newer) - 1} more" if len(newer) > 1 else ""
    return f"the newest READY version; version {first.version} ({first.status}){more} is newer but not READY"
