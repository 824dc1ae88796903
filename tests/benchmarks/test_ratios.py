"""The arithmetic of a comparison of two checkouts."""

from __future__ import annotations

import pytest
from benchmarks.ratios import Comparison, Measure, table

SPEED = Measure("load", "req/s")
TIME = Measure("start", "ms", less_is_better=True)


@pytest.mark.parametrize(("measure", "this", "other"), [(SPEED, 300.0, 200.0), (TIME, 200.0, 300.0)])
def test_over_one_is_faster(measure: Measure, this: float, other: float) -> None:
    """More requests per second and less time both give a ratio over 1, and swapped sides the reciprocal."""
    assert measure.ratio(this, other) == pytest.approx(1.5)
    assert measure.ratio(other, this) == pytest.approx(1 / 1.5)


def test_the_ratio_is_the_median_of_paired_ratios() -> None:
    """A round that was slow for both sides leaves the ratio alone, though it moves both medians."""
    compared = Comparison(SPEED, [(110.0, 100.0), (55.0, 50.0), (90.0, 100.0)])
    assert compared.ratios == pytest.approx([1.1, 1.1, 0.9])
    assert compared.ratio == pytest.approx(1.1)
    assert compared.medians == (90.0, 100.0)


def test_a_median_below_the_limit_is_slower() -> None:
    """The limit itself is not slower, and one slow round of three does not count."""
    compared = Comparison(TIME)
    for this, other in ((100.0, 97.0), (100.0, 97.0), (200.0, 97.0)):
        compared.add(this, other)
    assert not compared.slower(0.97)
    assert compared.slower(0.98)


def test_table() -> None:
    """A line has both medians, the median ratio, the least and the greatest, and the mark."""
    faster = Comparison(SPEED, [(1_200.0, 1_000.0), (1_100.0, 1_000.0), (990.0, 1_000.0)])
    slower = Comparison(TIME, [(12.5, 10.0)])
    _, _, *lines = table([faster, slower], other="HEAD~5", limit=0.97)
    assert lines == [
        "| load, req/s | 1,100 | 1,000 | 1.100 | 0.99 to 1.20 | ok |",
        "| start, ms | 12.5 | 10 | 0.800 | 0.80 to 0.80 | SLOWER |",
    ]
