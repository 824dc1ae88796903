"""How many requests a batch may have, learned from how long a model takes."""

from __future__ import annotations

from collections import deque

_MAX_BATCH = 256
_TARGET_BATCH_SECONDS = 0.05  # how long a batch may take
_MAX_PIPELINED_SECONDS = 0.02  # per request; a slower model gains nothing from a batch sent in advance
_RECENT_BATCHES = 2  # the latest batches count by themselves: one of them may be an outlier
_SMOOTHING = 0.2  # weight of the latest batch in the moving average
_IMPROVEMENT_RATIO = 0.75  # a larger batch is worth it if a request takes at most this share of the time


class BatchSizer:
    """A model of how long a model version takes per request, updated with each batch.

    A batch gets as many requests as the model handles in 50 ms. With row batching, in which the requests
    of a batch share one call of the model, it may be twice the best size so far, as long as that makes
    each request cheaper: a call that is slow for one row may be as fast for a hundred.
    """

    def __init__(self, *, row_batching: bool) -> None:
        """`row_batching`: the requests of a batch share one call of the model."""
        self._row_batching = row_batching
        self._average_seconds: float | None = None
        self._best_batch = 1
        self._recent: deque[float] = deque(maxlen=_RECENT_BATCHES)
        self._best_seconds: float | None = None
        self.seconds_per_request = 0.0
        """The seconds that a request took in the best of the latest batches; 0 if it is not known yet."""

    def record(self, requests: int, seconds: float) -> None:
        """Record how long a batch of `requests` requests took."""
        each = seconds / requests
        self._recent.append(each)
        average = each if self._average_seconds is None else self._average_seconds
        self._average_seconds = average + _SMOOTHING * (each - average)
        if self._best_seconds is None or (
            requests > self._best_batch and each < _IMPROVEMENT_RATIO * self._best_seconds
        ):
            self._best_batch, self._best_seconds = requests, each
        elif requests == self._best_batch:
            self._best_seconds += _SMOOTHING * (each - self._best_seconds)
        if len(self._recent) == _RECENT_BATCHES:  # the first call may be slower than all others
            self.seconds_per_request = min(self._average_seconds, self._best_seconds, *self._recent)

    @property
    def max_batch(self) -> int:
        """The number of requests that a batch may have; one if nothing is known of the model."""
        if self._average_seconds is None:
            return 1
        in_time = int(_TARGET_BATCH_SECONDS / max(self._average_seconds, 1e-9))
        trial = 2 * self._best_batch if self._row_batching else 1
        return min(_MAX_BATCH, max(in_time, trial))

    @property
    def max_in_flight(self) -> int:
        """The number of batches that a worker may hold; with two it is never idle while replies travel."""
        is_fast = self._average_seconds is not None and self._average_seconds <= _MAX_PIPELINED_SECONDS
        return 2 if is_fast else 1
