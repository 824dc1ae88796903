"""Texts for people: numbers with units, and what strangers wrote, cut to a length."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

DASH: Final = "–"  # noqa: RUF001 - an en dash stands for no value
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def cut(value: object, length: int = 80) -> str:
    """Return the text of a value, shortened to `length` characters with an ellipsis."""
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def path_segment(value: object) -> str:
    """Return a name as one part of a path."""
    return quote(str(value), safe="@")


def format_bytes(value: float | None) -> str:
    """Return bytes in the largest binary unit that leaves at least 1."""
    if value is None:
        return DASH
    size, unit = float(value), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if size < 10 and unit else f"{size:.0f} {_UNITS[unit]}"


def format_milliseconds(seconds: float | None) -> str:
    """Return a time in milliseconds, or in seconds from one second on."""
    if seconds is None:
        return DASH
    if seconds >= 1:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def format_number(value: float | None) -> str:
    """Return a number with at most four significant digits."""
    return DASH if value is None else f"{value:.4g}"


def format_metric(value: float | None) -> str:
    """Return a metric of a run; JSON has null for one that is no number."""
    return "not a number" if value is None else f"{value:.5g}"


def format_rate(value: float | None) -> str:
    """Return requests per second; a dash for none."""
    if not value:
        return DASH
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def format_share(share: float) -> str:
    """Return a share from 0 to 1 in percent."""
    if not share:
        return "0"
    return f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"


def format_duration(seconds: float) -> str:
    """Return a time in its largest unit: seconds, minutes, hours or days."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
