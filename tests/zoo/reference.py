"""The JSON that an answer is to have by the contract, independently of the gateway's own writer."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import uuid
from collections.abc import Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pydantic

if TYPE_CHECKING:
    from collections.abc import Callable


class NoForm(Exception):
    """The value has no JSON form."""


def plain(value: Any) -> Any:
    """`value` as what a JSON parser gives for it. Raises NoForm."""
    if any(value is missing for missing in MISSING):
        return None
    for kinds, form in FORMS:
        if isinstance(value, kinds):
            return form(value)
    if hasattr(value, "toarray"):
        return plain(value.toarray())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    raise NoForm(type(value).__name__)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _items(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return plain(value[()])
    return [plain(item) for item in value]


def _object(value: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(key.item() if isinstance(key, np.generic) else key): plain(item) for key, item in value.items()
    }


def _records(table: Any) -> list[dict[str, Any]]:
    frame = pd.DataFrame(table)
    rows, width = frame.shape
    return [
        {str(frame.columns[at]): plain(frame.iloc[:, at].iloc[row]) for at in range(width)}
        for row in range(rows)
    ]


def _datetime64(value: np.datetime64) -> str | None:
    return None if np.isnat(value) else str(np.datetime_as_string(value))


# The first that fits counts: a bool is an int, a Timestamp a date, numpy's double a float.
FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (bool | int | str, lambda value: value),
    (float, _number),
    (pd.DataFrame | pd.Series, _records),
    (np.ndarray | pd.Index | list | tuple, _items),
    (Iterator | KeysView | ValuesView, lambda value: _items(list(value))),
    (dict, _object),
    (set, lambda value: _items(sorted(value))),
    (np.datetime64, _datetime64),
    (np.timedelta64 | datetime.timedelta, lambda value: pd.Timedelta(value).isoformat()),
    (datetime.date | datetime.time, lambda value: value.isoformat()),
    (bytes | bytearray, lambda value: base64.b64encode(value).decode()),
    (decimal.Decimal | fractions.Fraction, float),
    (enum.Enum, lambda value: plain(value.value)),
    (uuid.UUID | pathlib.PurePath, str),
    (pd.Period, lambda value: str(value).replace(" ", "T")),
    (complex, lambda value: [value.real, value.imag]),
    (np.generic, lambda value: plain(value.item())),
    (pydantic.BaseModel, lambda value: plain(value.model_dump())),
)
MISSING = (None, pd.NA, pd.NaT, np.ma.masked)
