"""How many requests a batch may have, by what the model's batches have taken so far."""

from __future__ import annotations

import pytest

from workers.scheduler.batch_sizing import BatchSizer


def batch_sizes(*, row_batching: bool = False, call: float = 0.0, row: float, batches: int = 1) -> list[int]:
    """Return the sizes of the first batches of a model, if more requests wait than any batch takes.

    The model takes `call` seconds for each call, and `row` seconds for each request of it.
    """
    sizer = BatchSizer(row_batching=row_batching)
    sizes = []
    for _ in range(batches):
        size = sizer.max_batch
        sizes.append(size)
        calls = 1 if row_batching else size
        sizer.record(size, calls * call + size * row)
    return [*sizes, sizer.max_batch]


@pytest.mark.parametrize("row_batching", [False, True])
def test_the_first_batch_is_one_request(row_batching: bool) -> None:
    """As long as nothing is known of a model, a batch could take any time."""
    sizer = BatchSizer(row_batching=row_batching)
    assert sizer.max_batch == 1
    assert sizer.max_in_flight == 1


@pytest.mark.parametrize(
    ("seconds", "max_batch", "max_in_flight"),
    [(1.0, 1, 1), (0.03, 1, 1), (0.02, 2, 2), (0.01, 5, 2), (0.000001, 256, 2), (0.0, 256, 2)],
)
def test_a_batch_is_as_large_as_the_models_speed_allows(
    seconds: float, max_batch: int, max_in_flight: int
) -> None:
    """A slow model gets small batches and none in advance; a fast one gets large ones, and two at once."""
    sizer = BatchSizer(row_batching=False)
    sizer.record(1, seconds)
    assert sizer.max_batch == max_batch
    assert sizer.max_in_flight == max_in_flight


def test_the_time_is_that_of_one_request() -> None:
    """The requests of a batch share its seconds: ten requests in 100 ms are 10 ms each."""
    sizer = BatchSizer(row_batching=False)
    sizer.record(10, 0.1)
    assert sizer.max_batch == 5


def test_one_outlier_does_not_decide() -> None:
    """One slow batch makes the next ones a little smaller; a model that stays slow gets single requests."""
    sizer = BatchSizer(row_batching=False)
    sizer.record(1, 0.001)
    sizer.record(1, 0.005)
    assert 20 < sizer.max_batch < 50
    for _ in range(20):
        sizer.record(1, 0.05)
    assert sizer.max_batch == 1


def test_batches_double_while_that_makes_requests_cheaper() -> None:
    """With 100 ms for a call and almost nothing for a row, the largest size is reached in ten batches."""
    sizes = batch_sizes(row_batching=True, call=0.1, row=0.0001, batches=10)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256]


def test_batches_stay_small_if_requests_become_no_cheaper() -> None:
    """With 50 ms for each row, no batch is larger than the two requests that were tried."""
    assert max(batch_sizes(row_batching=True, row=0.05, batches=30)) == 2


def test_batches_stop_growing_when_rows_cost_more_than_the_call() -> None:
    """With 50 ms for a call and 50 ms for a row, a few requests halve the price and more gain too little."""
    assert batch_sizes(row_batching=True, call=0.05, row=0.05, batches=30)[-1] <= 8


def test_batches_do_not_grow_without_row_batching() -> None:
    """A model that is called once per request gains nothing from a larger batch."""
    assert max(batch_sizes(row_batching=False, call=0.1, row=0.0001, batches=10)) == 1


def test_small_batches_leave_the_best_size_as_it_is() -> None:
    """When few requests wait, what larger batches were found to cost stays known."""
    sizer = BatchSizer(row_batching=True)
    for size in (1, 2, 4, 8):
        sizer.record(size, 0.1)
    for seconds in (0.1, 0.1, 0.005, 0.1):
        sizer.record(1, seconds)
    assert sizer.max_batch == 16


def test_a_fast_model_with_row_batching_gets_what_fits_into_the_time() -> None:
    """The search for the best size never makes a batch smaller than the 50 ms allow."""
    assert batch_sizes(row_batching=True, row=0.001, batches=1)[-1] == 50


def test_the_seconds_per_request_ignore_outliers() -> None:
    """Neither the first call, which may be the slowest, nor one slow call among fast ones counts."""
    sizer = BatchSizer(row_batching=False)
    assert sizer.seconds_per_request == 0
    sizer.record(1, 2.0)
    assert sizer.seconds_per_request == 0
    sizer.record(1, 0.02)
    assert sizer.seconds_per_request == pytest.approx(0.02)
    sizer.record(1, 5.0)
    assert sizer.seconds_per_request <= 0.02
    for _ in range(30):
        sizer.record(1, 1.0)
    assert sizer.seconds_per_request == pytest.approx(1.0, rel=0.1)
