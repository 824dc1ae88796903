"""Proves that the patterns of dates and times are what the gateway takes."""

from __future__ import annotations

import re
from calendar import monthrange
from itertools import product

import pytest

from gateway.api.schema.datetimes import DATETIME_PATTERN, SEPARATED_DATETIME_PATTERN
from workers.codec.inputs.scalars import DATETIME

YEARS = range(1678, 2262)
DATES = ("2024-02-03", "20240203")
TIMES = (
    "04", "0405", "04:05", "040506", "04:05:06", "04:0506", "0405:06", "040506.5", "04:05:06.123456789",
    "04:05:06.1234567891", "04:0506.5", "0405:06.5", "24", "23:60", "04:05:60", "4", "04:5", "04:05.5",
)  # fmt: skip
ZONES = ("", "Z", "z", " Z", "+01", "+0100", " +01:00", "-23:59", "+24", "+1", "+01:60", "+")


def fits(text: str, pattern: str = DATETIME_PATTERN) -> bool:
    return re.search(pattern, text) is not None


def is_taken(text: str) -> bool:
    return DATETIME.mismatch(text) is None


@pytest.mark.parametrize("form", ["{:04}-{:02}-{:02}", "{:04}{:02}{:02}"])
def test_every_day_that_exists(form: str) -> None:
    """And no other: each year's months have their days, in leap years too."""
    pattern = re.compile(DATETIME_PATTERN)
    wrong = [
        text
        for year, month, day in product(YEARS, range(14), range(33))
        if (pattern.search(text := form.format(year, month, day)) is not None)
        != (1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1])
    ]
    assert wrong == []


@pytest.mark.parametrize("year", [1678, 1700, 1999, 2000, 2024, 2100, 2260, 2261])
def test_ends_of_months(year: int) -> None:
    """The gateway has the same calendar."""
    texts = [f"{year}-{month:02}-{day}" for month in range(1, 13) for day in range(28, 33)]
    assert [text for text in texts if fits(text) != is_taken(text)] == []


@pytest.mark.parametrize("separator", ["T", "t", " ", "  ", "_"])
def test_times(separator: str) -> None:
    """With colons or without, and not with some of them; with a zone or without."""
    texts = [f"{date}{separator}{time}{zone}" for date, time, zone in product(DATES, TIMES, ZONES)]
    assert [text for text in texts if fits(text) != is_taken(text)] == []
    assert any(map(fits, texts)) == (separator in {"T", "t", " "})


def test_separated() -> None:
    """The narrower pattern, of params, is the same for a date and time with its separators, and no other."""
    texts = [f"{date}T{time}{zone}" for date, time, zone in product(DATES, TIMES, ZONES)]
    separated = r"\d{4}-\d\d-\d\dT\d\d(:\d\d){0,2}(\.\d+)? ?(Z|z|[+-]\d\d(:\d\d)?)?"
    expected = [text for text in texts if fits(text) and re.fullmatch(separated, text)]
    assert expected
    assert [text for text in texts if fits(text, SEPARATED_DATETIME_PATTERN)] == expected
