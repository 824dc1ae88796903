"""How long a model takes per job, and how many jobs a batch may have by that."""

from __future__ import annotations

from collections import deque

_MAX_BATCH = 256
_TARGET_BATCH_SECONDS = 0.05  # what the jobs of a batch may take together, by the model's pace
_MAX_PIPELINED_SECONDS = (
    0.02  # where a job is slower, a batch gains nothing by another that waits in the pipe
)
_RECENT_BATCHES = 2  # batches that count by themselves: one may be slow as no other is
_SMOOTHING = 0.2  # how much the latest batch counts in the pace
_IMPROVEMENT_RATIO = 0.75  # company is worth it where a job takes no more than this of what it takes without


class BatchSizer:
    """Learns from each batch; `merging` says whether the jobs of a batch share one call of the model.

    A batch has as many jobs as fit into a twentieth of a second. Where jobs share a call, one with twice
    the company is tried as long as that makes each job cheaper: a call that takes long for one row
    may take no longer for a hundred.
    """

    def __init__(self, *, row_batching: bool) -> None:
        self._row_batching = row_batching
        self._average_seconds: float | None = None
        self._best_batch = 1
        self._recent: deque[float] = deque(maxlen=_RECENT_BATCHES)
        self._best_seconds: float | None = None

    def record(self, jobs: int, seconds: float) -> None:
        """Take note of how long a batch of so many jobs took."""
        each = seconds / jobs
        self._recent.append(each)
        self._average_seconds = (
            each
            if self._average_seconds is None
            else (1 - _SMOOTHING) * self._average_seconds + _SMOOTHING * each
        )
        if self._best_seconds is None or (
            jobs > self._best_batch and each < _IMPROVEMENT_RATIO * self._best_seconds
        ):
            self._best_batch, self._best_seconds = jobs, each
        elif jobs == self._best_batch:
            self._best_seconds += _SMOOTHING * (each - self._best_seconds)

    @property
    def seconds_per_request(self) -> float:
        """What a job takes, at the best that was seen lately; 0 where nothing is known of the model."""
        if self._average_seconds is None or self._best_seconds is None or len(self._recent) < _RECENT_BATCHES:
            return 0.0  # the first call may be slow as no later one is
        return min(self._average_seconds, self._best_seconds, *self._recent)

    @property
    def max_batch(self) -> int:
        """How many jobs a batch may have: one where nothing is known of the model."""
        if self._average_seconds is None:
            return 1
        in_time = int(_TARGET_BATCH_SECONDS / max(self._average_seconds, 1e-9))
        tried = 2 * self._best_batch if self._row_batching else 1
        return min(_MAX_BATCH, max(in_time, tried))

    @property
    def max_in_flight(self) -> int:
        """How many batches a worker may hold: with two it never idles while the replies travel."""
        return (
            2 if self._average_seconds is not None and self._average_seconds <= _MAX_PIPELINED_SECONDS else 1
        )
