"""How long a model takes per job, and how many jobs a batch may have by that."""

from __future__ import annotations

from collections import deque

_BATCH_JOBS = 256
_BATCH_SECONDS = 0.05  # what the jobs of a batch may take together, by the model's pace
_PIPELINED_SECONDS = 0.02  # where a job is slower, a batch gains nothing by another that waits in the pipe
_LATEST = 2  # batches that count by themselves: one may be slow as no other is
_NEWS = 0.2  # how much the latest batch counts in the pace
_CHEAPER = 0.75  # company is worth it where a job takes no more than this of what it takes without


class Pace:
    """Learns from each batch; `merging` says whether the jobs of a batch share one call of the model.

    A batch has as many jobs as fit into a twentieth of a second. Where jobs share a call, one with twice
    the company is tried as long as that makes each job cheaper: a call that takes long for one row
    may take no longer for a hundred.
    """

    def __init__(self, *, merging: bool) -> None:
        self._merging = merging
        self._seconds: float | None = None
        self._company = 1
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._with_company: float | None = None

    def learn(self, jobs: int, seconds: float) -> None:
        """Take note of how long a batch of so many jobs took."""
        each = seconds / jobs
        self._latest.append(each)
        self._seconds = each if self._seconds is None else (1 - _NEWS) * self._seconds + _NEWS * each
        if self._with_company is None or (jobs > self._company and each < _CHEAPER * self._with_company):
            self._company, self._with_company = jobs, each
        elif jobs == self._company:
            self._with_company += _NEWS * (each - self._with_company)

    @property
    def seconds(self) -> float:
        """What a job takes, at the best that was seen lately; 0 where nothing is known of the model."""
        if self._seconds is None or self._with_company is None or len(self._latest) < _LATEST:
            return 0.0  # the first call may be slow as no later one is
        return min(self._seconds, self._with_company, *self._latest)

    @property
    def most_jobs(self) -> int:
        """How many jobs a batch may have: one where nothing is known of the model."""
        if self._seconds is None:
            return 1
        in_time = int(_BATCH_SECONDS / max(self._seconds, 1e-9))
        tried = 2 * self._company if self._merging else 1
        return min(_BATCH_JOBS, max(in_time, tried))

    @property
    def depth(self) -> int:
        """How many batches a worker may hold: with two it never idles while the replies travel."""
        return 2 if self._seconds is not None and self._seconds <= _PIPELINED_SECONDS else 1
