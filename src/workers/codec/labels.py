"""The names that a signature gives to its columns and tensors: text, or the numbers of pandas' columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

_ADVICE = "log the model with names of text, for example with frame.columns.astype(str)"


def is_number(name: object) -> bool:
    """Return whether a name is a number that has one text."""
    return type(name) is int or (type(name) is float and math.isfinite(name))


def are_positions(names: Sequence[Any]) -> bool:
    """Return whether the names are the integers from 0 on, as pandas calls columns without names."""
    return bool(names) and {*map(type, names)} == {int} and sorted(names) == list(range(len(names)))


def to_index(names: Sequence[Any]) -> pd.Index[Any]:
    """Return the columns that a frame of these names has in MLflow: it makes the frame of a dict."""
    index: pd.Index[Any] = pd.Index(list(map(str, names)))
    if all(isinstance(name, str) for name in names):
        return index
    try:
        return pd.DataFrame(dict.fromkeys(names, ())).columns
    except TypeError:  # a list, which `names_error` rejects
        return index


def names_error(names: Sequence[Any], *, enforced: bool) -> str | None:
    """Return why no body can name all of the signature's columns or tensors, or None.

    `enforced` says whether MLflow checks the input again before the model gets it. It takes a name of 0 for
    a missing one and puts the position there, so that a column is lost.
    """
    if all(isinstance(name, str) for name in names):
        return None
    if not all(isinstance(name, str) or is_number(name) for name in names):
        return f"The model's signature has a name that is neither text nor a number; {_ADVICE}."
    if len({*map(str, names)}) != len(names) or len({*names}) != len(names):
        return f"Two names of the model's signature are the same, one as a number; {_ADVICE}."
    if enforced and any(name == 0 and at != 0 for at, name in enumerate(names)):
        return f"The model's signature has the name 0, and not first, where MLflow loses it; {_ADVICE}."
    return None
