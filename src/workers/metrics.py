"""Counts events by label in the gateway's process; the metrics collector reads the counts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER: Final = ("other", "other")
"""The name and version that count all versions without series of their own. No version has this name."""

_MAX_VERSIONS: Final = 1_000

DURATION_BOUNDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""The upper bounds of the buckets of durations in seconds; one more bucket has no bound."""

Cells = list[float]
"""A histogram: the number of values in each bucket, then the sum of the values."""


@dataclass(frozen=True, eq=False)
class CounterSpec:
    """A counter's name, help text and label names. Each equals itself alone, which is fast to look up."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()

    @cached_property
    def by_version(self) -> bool:
        """Whether the first two labels are a model's name and version."""
        return self.labels[:2] == ("model", "version")


@dataclass(frozen=True, eq=False)
class HistogramSpec:
    """A histogram's name, help text, label names, and the upper bounds of its buckets but the last."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = DURATION_BOUNDS


Series = tuple[CounterSpec, tuple[str, ...]]
HistogramSeries = tuple[HistogramSpec, tuple[str, ...]]


WORKER_STARTS: Final = CounterSpec(
    "worker_starts", "Worker processes that started and loaded their model.", ("model", "version")
)
WORKER_EXITS: Final = CounterSpec(
    "worker_exits",
    "Unplanned exits of worker processes: crash, timeout (killed because it did not reply in time), or"
    " protocol (ended because the model's code sent the gateway what a worker may not send).",
    ("model", "version", "reason"),
)
PREDICTION_RETRIES: Final = CounterSpec(
    "prediction_retries", "Requests run again by another worker because theirs crashed.", ("model", "version")
)
PREDICTIONS_ABANDONED: Final = CounterSpec(
    "predictions_abandoned",
    "Requests removed from the queue without an answer: disconnect of the client, or timeout.",
    ("model", "version", "reason"),
)
QUEUE_REJECTIONS: Final = CounterSpec(
    "queue_rejections", "Requests rejected because too many waited for the version.", ("model", "version")
)
ORPHANS_ENDED: Final = CounterSpec(
    "worker_orphans_ended",
    "Processes that models started and left behind, and that were killed within a second.",
)
MODEL_LOADS: Final = CounterSpec(
    "model_loads",
    "Loads of a model version by outcome: loaded or failed.",
    ("model", "version", "outcome"),
)
MODEL_UNLOADS: Final = CounterSpec(
    "model_unloads",
    "Models unloaded, by reason: idle, capacity (another model needed the slot), device (another needed its"
    " GPU), memory (over the limit), request, failed (no worker could be started) or shutdown.",
    ("model", "version", "reason"),
)
QUEUE_WAIT: Final = HistogramSpec(
    "queue_wait_seconds", "Seconds that requests waited for a worker, without their way to it and back."
)
BATCH_REQUESTS: Final = HistogramSpec(
    "batch_requests",
    "Requests that a worker was given at once; with row batching they share a call of the model.",
    bounds=tuple(2.0**power for power in range(9)),
)
BATCH_ROWS: Final = HistogramSpec(
    "batch_rows",
    "Rows of each call of a model, as its worker reports them; requests that share a call count as one.",
    bounds=tuple(4.0**power for power in range(11)),
)
HISTOGRAM_SPECS: Final = (QUEUE_WAIT, BATCH_REQUESTS, BATCH_ROWS)
"""All histograms of this package."""
COUNTER_SPECS: Final = (
    WORKER_STARTS,
    WORKER_EXITS,
    PREDICTION_RETRIES,
    PREDICTIONS_ABANDONED,
    QUEUE_REJECTIONS,
    ORPHANS_ENDED,
    MODEL_LOADS,
    MODEL_UNLOADS,
)
"""All counters of this package."""


class Counters:
    """A set of counters and histograms, each split by its labels. Used from one event loop.

    The number of model versions with counters of their own is bounded by `LabelLimiter`. Callers bound the
    labels of histograms.
    """

    def __init__(self) -> None:
        self.counts: Counter[Series] = Counter()
        self.histograms: dict[HistogramSeries, Cells] = {}
        self._label_limiter = LabelLimiter(total=self._total, merge_into_other=self._merge_into_other)
        self._series: dict[tuple[str, str], list[Series]] = {}

    def increment(self, counter: CounterSpec, *labels: str, times: int = 1) -> None:
        """Add `times` to the series of `labels`, one label for each name in `counter.labels`."""
        series = (counter, labels)
        if counter.by_version and series not in self.counts:
            version = labels[0], labels[1]
            self._label_limiter.track(*version)
            self._series.setdefault(version, []).append(series)
        self.counts[series] += times

    def value(self, counter: CounterSpec, *labels: str) -> int:
        """Return the count of the series of `labels`."""
        return self.counts[counter, labels]

    def histogram(self, spec: HistogramSpec, *labels: str) -> Cells:
        """Return the cells of the series of `labels`, for callers that keep them and add to them."""
        return self.histograms.setdefault((spec, labels), [0.0] * (len(spec.bounds) + 2))

    def observe(self, spec: HistogramSpec, *labels: str, value: float) -> None:
        """Add a value to the histogram of `labels`."""
        cells = self.histogram(spec, *labels)
        cells[bisect_left(spec.bounds, value)] += 1
        cells[-1] += value

    def move_histogram(self, spec: HistogramSpec, labels: tuple[str, ...], into: tuple[str, ...]) -> None:
        """Add one series of a histogram to another and remove it, if it exists."""
        if (moved := self.histograms.pop((spec, labels), None)) is not None:
            cells = self.histogram(spec, *into)
            cells[:] = [a + b for a, b in zip(cells, moved, strict=True)]

    def _total(self, version: tuple[str, str]) -> int:
        return sum(self.counts[series] for series in self._series[version])

    def _merge_into_other(self, version: tuple[str, str]) -> None:
        for counter, labels in self._series.pop(version):
            self.counts[counter, (*OTHER, *labels[2:])] += self.counts.pop((counter, labels))


class LabelLimiter:
    """A bounded set of the model versions that have series of their own, a thousand at most.

    A further version replaces the one whose counts have not changed for the longest time. The replaced
    version's counts are added to those of `OTHER`, so that sums stay correct.
    """

    def __init__(
        self,
        *,
        total: Callable[[tuple[str, str]], float],
        merge_into_other: Callable[[tuple[str, str]], None],
        limit: int = _MAX_VERSIONS,
    ) -> None:
        """`total` returns the sum of a version's counts; `merge_into_other` adds them to those of `OTHER`."""
        self._total = total
        self._merge_into_other = merge_into_other
        self._limit = limit
        self._last_totals: dict[tuple[str, str], float] = {}

    def track(self, name: str, version: str) -> None:
        """Give a version series of its own. Takes about a millisecond if a thousand others have some."""
        if (name, version) in self._last_totals:
            return
        self._sort_by_activity()
        if len(self._last_totals) >= self._limit:
            oldest = next(iter(self._last_totals))
            del self._last_totals[oldest]
            self._merge_into_other(oldest)
        self._last_totals[name, version] = 0.0

    def _sort_by_activity(self) -> None:
        """Move the versions whose totals changed since the last call to the end."""
        totals = {version: self._total(version) for version in self._last_totals}
        for version, total in totals.items():
            if total != self._last_totals[version]:
                del self._last_totals[version]
                self._last_totals[version] = total
