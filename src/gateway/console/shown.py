"""What the pages show of a model, within bounds: its owner may have written megabytes, and many versions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from gateway.console import text
from gateway.console.summary import Summary, summarize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.domain.models import Model, ModelDetails, ModelVersion

_MAX_VERSIONS: Final = 100
_MAX_ALIASES: Final = 50
_MAX_ALIASES_OF_VERSION: Final = 5
_MAX_METRICS: Final = 4
_MAX_TAGS: Final = 100
_MAX_DESCRIPTION: Final = 600
_MAX_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class Shown:
    """A model with its newest versions. `total` counts all versions, `more_tags` the tags that are left out.

    `metrics` names at most four metrics, those that most of the versions have first; the versions have no
    others.
    """

    summary: Summary
    description: str
    aliases: tuple[tuple[str, str], ...]
    tags: Mapping[str, str]
    more_tags: int
    metrics: tuple[str, ...]
    versions: tuple[ModelVersion, ...]
    total: int


def show(details: ModelDetails, *, setting: str) -> Shown:
    """Return what is shown of a model; `setting` is the metric that the operator chose, if any."""
    model, newest = details.model, details.versions[:_MAX_VERSIONS]
    metrics = _common_metrics(newest)
    aliases = sorted(model.aliases.items())[:_MAX_ALIASES]
    summary = summarize(details, setting=setting)
    return Shown(
        replace(summary, model=replace(bare(model), aliases=dict(aliases))),
        description=text.cut(model.description, _MAX_DESCRIPTION),
        aliases=tuple(aliases),
        tags={text.cut(key, _MAX_TEXT): text.cut(model.tags[key], _MAX_TEXT) for key in _first(model.tags)},
        more_tags=max(0, len(model.tags) - _MAX_TAGS),
        metrics=metrics,
        versions=tuple(_cut(version, metrics) for version in newest),
        total=len(details.versions),
    )


def bare(model: Model) -> Model:
    """Return a model without the texts that only its own page shows."""
    return replace(model, description="", tags={})


def _cut(version: ModelVersion, metrics: Iterable[str]) -> ModelVersion:
    return replace(
        version,
        description="",
        tags={},
        uri="",
        aliases=version.aliases[:_MAX_ALIASES_OF_VERSION],
        metrics={name: version.metrics[name] for name in metrics if name in version.metrics},
    )


def _common_metrics(versions: Iterable[ModelVersion]) -> tuple[str, ...]:
    counts = Counter(name for version in versions for name in version.metrics)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:_MAX_METRICS])


def _first(tags: Mapping[str, str]) -> Iterable[str]:
    return islice(sorted(tags), _MAX_TAGS)
