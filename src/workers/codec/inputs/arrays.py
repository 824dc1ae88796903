"""Arrays that come with a type of their own, as another type, with no value changed but by rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray[Any, Any]


def safe_cast(array: Array, dtype: np.dtype[Any]) -> Array | None:
    """`array` as `dtype`, where that can be said without looking at single values; else None.

    An array of decimals may be rounded to a narrower type, not beyond its range; what is infinite
    already stays so.
    """
    if array.dtype == dtype:
        return array
    kinds = array.dtype.kind + dtype.kind
    if kinds == "ff":
        return _round_floats(array, dtype)
    whole = kinds in {"ii", "uu", "ui"} or (kinds in {"if", "uf"} and array.dtype.itemsize < 8)
    return array.astype(dtype) if whole and np.can_cast(array.dtype, dtype) else None


def to_json_values(array: Array) -> Sequence[object]:
    """The values of a flat array as JSON has them, where NaN is null."""
    values: list[object] = array.tolist()
    if array.dtype.kind != "f" or not np.isnan(array).any():
        return values
    return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN is what differs from itself


def _round_floats(array: Array, dtype: np.dtype[Any]) -> Array | None:
    with np.errstate(over="ignore"):
        made: Array = array.astype(dtype)
    return None if (np.isinf(made) & np.isfinite(array)).any() else made
