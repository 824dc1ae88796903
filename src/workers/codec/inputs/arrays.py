"""Casts of numpy arrays that change no value except by rounding a float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MAX_EXACT_INTEGER = 2**53  # a double holds every integer up to here
FRACTIONLESS_FROM = 2**52  # a double from here on has no fraction, even if one was written
NANOSECONDS_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MAX_NANOSECONDS = 2**63 - 1


def safe_cast(array: Array, dtype: np.dtype[Any]) -> Array | None:
    """Return `array` as `dtype`, or None if only a look at each value can tell whether it fits.

    Floats may be rounded to a narrower dtype, but not beyond its range. Infinities stay infinite.
    """
    if array.dtype == dtype:
        return array
    kinds = array.dtype.kind + dtype.kind
    if kinds == "ff":
        return _round_floats(array, dtype)
    exact = kinds in {"ii", "uu", "ui"} or (kinds in {"if", "uf"} and array.dtype.itemsize < 8)
    return array.astype(dtype) if exact and np.can_cast(array.dtype, dtype) else None


def to_json_values(array: Array) -> Sequence[object]:
    """Return the values of a flat array as JSON has them: NaN is null."""
    values: list[object] = array.tolist()
    if array.dtype.kind != "f" or not np.isnan(array).any():
        return values
    return [None if value != value else value for value in values]  # noqa: PLR0124 - only NaN differs from itself


def to_datetimes(counts: Array, unit: str) -> tuple[Array, list[int]]:
    """Return integer counts since 1970 as datetime64[ns], and the positions of those beyond its range."""
    factor = NANOSECONDS_PER_UNIT[unit]
    limit = _MAX_NANOSECONDS // factor
    out_of_range = np.flatnonzero((counts > limit) | (counts < -limit))
    return (counts * factor).view("datetime64[ns]"), out_of_range.tolist()


def _round_floats(array: Array, dtype: np.dtype[Any]) -> Array | None:
    with np.errstate(over="ignore"):
        rounded: Array = array.astype(dtype)
    return None if (np.isinf(rounded) & np.isfinite(array)).any() else rounded
