"""Dates and times of requests as patterns of JSON Schema: exactly those that the gateway takes."""

from __future__ import annotations

from typing import Final

# Years 1678 to 2261 have every day among the nanoseconds of pandas.
_YEAR: Final = "(167[89]|16[89][0-9]|1[7-9][0-9]{2}|2[01][0-9]{2}|22[0-5][0-9]|226[01])"
_LEAP_YEAR: Final = (
    "(16(8[048]|9[26])|(1[7-9]|2[01])(0[48]|[2468][048]|[13579][26])|2000|22(0[48]|[24][048]|[135][26]|60))"
)
_HOUR: Final = "([01][0-9]|2[0-3])"
_SIXTIETH: Final = "[0-5][0-9]"


def _date(separator: str) -> str:
    days = "|".join(
        f"{months}{separator}{days}"
        for months, days in (
            ("(0[1-9]|1[0-2])", "(0[1-9]|1[0-9]|2[0-8])"),
            ("(0[13-9]|1[0-2])", "(29|30)"),
            ("(0[13578]|1[02])", "31"),
        )
    )
    return f"({_YEAR}{separator}({days})|{_LEAP_YEAR}{separator}02{separator}29)"


def _minutes(separator: str) -> str:
    return rf"{separator}{_SIXTIETH}({separator}{_SIXTIETH}(\.[0-9]{{1,9}})?)?"


def _pattern(date: str, minutes: str, *, colon: str) -> str:
    zone = f" ?([Zz]|[+-]{_HOUR}({colon}{_SIXTIETH})?)"
    return f"^{date}([Tt ]{_HOUR}({minutes})?({zone})?)?$"


DATETIME_PATTERN: Final = _pattern(
    f"({_date('-')}|{_date('')})", f"{_minutes(':')}|{_minutes('')}", colon=":?"
)
SEPARATED_DATETIME_PATTERN: Final = _pattern(_date("-"), _minutes(":"), colon=":")
"""The forms that have all their separators."""
