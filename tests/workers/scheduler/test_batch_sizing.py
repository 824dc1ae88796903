"""How many jobs a batch may have: what a model's batches so far allow, and what company makes cheaper."""

from __future__ import annotations

import pytest

from workers.scheduler.batch_sizing import BatchSizer


def learnt(*, merging: bool = False, call: float = 0.0, row: float, batches: int = 1) -> list[int]:
    """How long the batches are that a model gets where more waits than any batch takes.

    The model takes `call` seconds for each call and `row` for each job of it.
    """
    pace = BatchSizer(row_batching=merging)
    lengths = []
    for _ in range(batches):
        jobs = pace.max_batch
        lengths.append(jobs)
        calls = 1 if merging else jobs
        pace.record(jobs, calls * call + jobs * row)
    return [*lengths, pace.max_batch]


@pytest.mark.parametrize("merging", [False, True])
def test_an_unknown_pace_gives_one_at_a_time(merging: bool) -> None:
    """Before anything is known of a model, a batch could be of any length: it is one job."""
    pace = BatchSizer(row_batching=merging)
    assert pace.max_batch == 1
    assert pace.max_in_flight == 1


@pytest.mark.parametrize(
    ("seconds", "jobs", "depth"),
    [(1.0, 1, 1), (0.03, 1, 1), (0.02, 2, 2), (0.01, 5, 2), (0.000001, 256, 2), (0.0, 256, 2)],
)
def test_a_batch_is_as_long_as_the_models_pace_allows(seconds: float, jobs: int, depth: int) -> None:
    """Slow models get short batches and no second one waiting in the pipe; fast ones long ones."""
    pace = BatchSizer(row_batching=False)
    pace.record(1, seconds)
    assert pace.max_batch == jobs
    assert pace.max_in_flight == depth


def test_the_pace_is_that_of_each_job() -> None:
    """A batch's seconds are shared by its jobs: ten in a tenth of a second are ten milliseconds each."""
    pace = BatchSizer(row_batching=False)
    pace.record(10, 0.1)
    assert pace.max_batch == 5


def test_one_odd_batch_does_not_decide() -> None:
    """A single slow batch shortens the next ones a little; a model that stays slow is soon known as such."""
    pace = BatchSizer(row_batching=False)
    pace.record(1, 0.001)
    pace.record(1, 0.005)
    assert 20 < pace.max_batch < 50
    for _ in range(20):
        pace.record(1, 0.05)
    assert pace.max_batch == 1


def test_company_is_doubled_while_it_makes_jobs_cheaper() -> None:
    """100 ms for a call and next to nothing for a row: the longest batch comes within ten."""
    lengths = learnt(merging=True, call=0.1, row=0.0001, batches=10)
    assert lengths == [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256]


def test_company_that_makes_nothing_cheaper_is_not_sought() -> None:
    """50 ms for each row, alone or not: no more than the one companion that was tried."""
    assert max(learnt(merging=True, row=0.05, batches=30)) == 2


def test_company_ends_where_the_rows_cost_more_than_the_call() -> None:
    """50 ms for a call and 50 for a row: some company halves the price, more of it gains too little."""
    assert learnt(merging=True, call=0.05, row=0.05, batches=30)[-1] <= 8


def test_company_is_no_reason_where_calls_are_not_shared() -> None:
    """A model that predicts each job by a call of its own gets no company for its slow calls."""
    assert max(learnt(merging=False, call=0.1, row=0.0001, batches=10)) == 1


def test_short_batches_tell_nothing_of_company() -> None:
    """Where few wait, what longer batches were found to cost stays known."""
    pace = BatchSizer(row_batching=True)
    for jobs in (1, 2, 4, 8):
        pace.record(jobs, 0.1)
    for seconds in (0.1, 0.1, 0.005, 0.1):
        pace.record(1, seconds)
    assert pace.max_batch == 16


def test_a_fast_merging_model_gets_what_fits_into_the_time() -> None:
    """Company is tried beyond that time, never a reason to stay below it."""
    assert learnt(merging=True, row=0.001, batches=1)[-1] == 50


def test_what_a_job_takes_is_not_told_by_the_first() -> None:
    """The first call may be slow as no other is, and one that is slow among quick ones says nothing."""
    pace = BatchSizer(row_batching=False)
    assert pace.seconds_per_request == 0
    pace.record(1, 2.0)
    assert pace.seconds_per_request == 0
    pace.record(1, 0.02)
    assert pace.seconds_per_request == pytest.approx(0.02)
    pace.record(1, 5.0)
    assert pace.seconds_per_request <= 0.02
    for _ in range(30):
        pace.record(1, 1.0)
    assert pace.seconds_per_request == pytest.approx(1.0, rel=0.1)
