"""Measures how long the phases of predictions take, by model version."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, Literal

from workers.metrics import DURATION_BOUNDS, OTHER, HistogramSpec, LabelLimiter

if TYPE_CHECKING:
    from workers.metrics import Cells, Counters
    from workers.protocol.messages import ModelKey

PHASE_DURATION: Final = HistogramSpec(
    "phase_duration_seconds",
    "Seconds of each phase of predictions that succeeded, by version: resolve, download and load (only of"
    " requests that waited for them), queue (with the way to the worker and back), predict (with decoding"
    " and encoding).",
    ("model", "version", "phase"),
)

MODEL_PREDICTION_DURATION: Final = HistogramSpec(
    "model_prediction_duration_seconds",
    "Seconds of predictions that succeeded, by version: the sum of their phases.",
    ("model", "version"),
)

Phase = Literal["resolve", "download", "load", "queue", "predict"]
_ALWAYS: Final[tuple[Phase, ...]] = ("resolve", "queue", "predict")
_ONCE: Final[tuple[Phase, ...]] = ("download", "load")
_MAX_VERSIONS: Final = 100  # each has up to six histograms with 19 lines on the page
_MAX_KEYS: Final = 10_000

_VersionCells = tuple["Cells", "Cells", "Cells", "Cells"]


class PhaseTimes:
    """A recorder of the phases of predictions, for a hundred versions at most.

    A further version replaces the one without a prediction for the longest time, whose figures are added to
    those of `OTHER`.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._cells: dict[ModelKey, _VersionCells] = {}
        self._limiter = LabelLimiter(
            total=self._predictions, merge_into_other=self._merge_into_other, limit=_MAX_VERSIONS
        )

    def record(
        self, key: ModelKey, *, resolve: float, queue: float, predict: float, waited: float = 0.0
    ) -> None:
        """Record one prediction by its phases in seconds; it `waited` for the download and the load."""
        total_cells, resolve_cells, queue_cells, predict_cells = self._cells.get(key) or self._add(key)
        resolve_cells[bisect_left(DURATION_BOUNDS, resolve)] += 1
        resolve_cells[-1] += resolve
        queue_cells[bisect_left(DURATION_BOUNDS, queue)] += 1
        queue_cells[-1] += queue
        predict_cells[bisect_left(DURATION_BOUNDS, predict)] += 1
        predict_cells[-1] += predict
        total = resolve + queue + predict + waited
        total_cells[bisect_left(DURATION_BOUNDS, total)] += 1
        total_cells[-1] += total

    def record_load(self, key: ModelKey, *, download: float, load: float) -> None:
        """Record what one request waited for files, if any were fetched, and for the model to load."""
        if key not in self._cells:
            self._add(key)
        if download:
            self._counters.observe(PHASE_DURATION, key.name, key.version, "download", value=download)
        self._counters.observe(PHASE_DURATION, key.name, key.version, "load", value=load)

    def _add(self, key: ModelKey) -> _VersionCells:
        self._limiter.track(key.name, key.version)
        if len(self._cells) >= _MAX_KEYS:  # versions that are deleted and created anew again and again
            self._cells.clear()
        resolve, queue, predict = (
            self._counters.histogram(PHASE_DURATION, key.name, key.version, phase) for phase in _ALWAYS
        )
        total = self._counters.histogram(MODEL_PREDICTION_DURATION, key.name, key.version)
        cells = self._cells[key] = total, resolve, queue, predict
        return cells

    def _predictions(self, version: tuple[str, str]) -> float:
        return sum(self._counters.histogram(PHASE_DURATION, *version, "predict")[:-1])

    def _merge_into_other(self, version: tuple[str, str]) -> None:
        self._counters.move_histogram(MODEL_PREDICTION_DURATION, version, OTHER)
        for phase in (*_ALWAYS, *_ONCE):
            self._counters.move_histogram(PHASE_DURATION, (*version, phase), (*OTHER, phase))
        for key in [key for key in self._cells if key[:2] == version]:
            del self._cells[key]
