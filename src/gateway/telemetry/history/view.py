"""The history as one JSON-serialisable object."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.telemetry.history.quantiles import quantile_ms
from gateway.telemetry.history.reader import add_counts
from gateway.telemetry.history.step import MAX_VERSIONS, STEP_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.telemetry.history.step import Step, VersionFigures

RECENT_SECONDS: Final = 300
"""The length of the time that the figures of models are of."""
MINUTES: Final = 15
_CLASSES: Final = ("2xx", "4xx", "5xx")
_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_SECONDS_PER_MINUTE: Final = 60


def build_view(steps: Sequence[Step]) -> dict[str, Any]:
    """Return the figures of all steps by series, and those of the models of the last minutes."""
    classes = sorted({*_CLASSES, *(name for step in steps for name in step.requests)})
    return {
        "step_seconds": STEP_SECONDS,
        "times": [step.time for step in steps],
        "requests": {
            name: [_rate(step.requests.get(name, 0), step.seconds) for step in steps] for name in classes
        },
        "latency_ms": {
            name: [quantile_ms(step.latencies, part) for step in steps] for name, part in _QUANTILES.items()
        },
        "waiting": [step.waiting for step in steps],
        "refused": [_rate(step.refused, step.seconds) for step in steps],
        "memory": _memory(steps),
        "recent_seconds": RECENT_SECONDS,
        "models": _models(steps),
    }


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 2)


def _memory(steps: Sequence[Step]) -> dict[str, Any]:
    """Return the bytes of the base, of the limit and of each model, those of most bytes first."""
    by_model: dict[str, list[int]] = defaultdict(lambda: [0] * len(steps))
    for index, step in enumerate(steps):
        for model, _, size in step.model_memory:
            by_model[model][index] += size
    largest = sorted(by_model.items(), key=lambda item: (-item[1][-1], -max(item[1]), item[0]))
    return {
        "base": [step.base_memory for step in steps],
        "limit": [step.memory_limit for step in steps],
        "models": dict(largest[:MAX_VERSIONS]),
    }


@dataclass(slots=True)
class _Sums:
    """The sums of a model or a version over the recent steps, and its requests by minute."""

    requests: int = 0
    errors: int = 0
    latencies: list[int] = field(default_factory=list)
    by_minute: Counter[int] = field(default_factory=Counter)

    def add(self, figures: VersionFigures, minute: int, *, recent: bool) -> None:
        self.by_minute[minute] += figures.requests
        if recent:
            self.requests += figures.requests
            self.errors += figures.errors
            self.latencies = add_counts(self.latencies, figures.latencies)

    def to_json(self, seconds: float) -> dict[str, Any]:
        """Return the figures of `seconds`."""
        return {
            "requests_per_second": _rate(self.requests, seconds),
            "p95_ms": quantile_ms(self.latencies, 0.95),
            "errors": self.errors,
            "error_ratio": round(self.errors / self.requests, 4) if self.requests else None,
            "requests_by_minute": [self.by_minute[minute] for minute in range(1 - MINUTES, 1)],
        }


def _models(steps: Sequence[Step]) -> dict[str, Any]:
    """Return the figures of the models with the most requests, and of their versions."""
    end = steps[-1].time if steps else 0
    models: dict[str, _Sums] = defaultdict(_Sums)
    versions: dict[str, dict[str, _Sums]] = defaultdict(lambda: defaultdict(_Sums))
    seconds = 0.0
    for step in steps:
        recent = step.time > end - RECENT_SECONDS
        minute = -((end - step.time) // _SECONDS_PER_MINUTE)
        seconds += step.seconds if recent else 0.0
        for figures in step.versions:
            for sums in (models[figures.model], versions[figures.model][figures.version]):
                sums.add(figures, minute, recent=recent)
    busiest = sorted(models, key=lambda name: (-sum(models[name].by_minute.values()), name))
    return {
        name: models[name].to_json(seconds)
        | {"versions": {version: sums.to_json(seconds) for version, sums in versions[name].items()}}
        for name in busiest[:MAX_VERSIONS]
    }
