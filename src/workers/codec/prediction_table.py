"""Predictions as a table, for the tabular formats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workers.codec.plain import period_to_iso, to_plain, to_plain_items
from workers.errors import NotAcceptable


def predictions_to_frame(predictions: object, media_type: str) -> pd.DataFrame:
    """Return the predictions as a DataFrame with string column names and without an index.

    Tables are DataFrames, Series, arrays of one or two dimensions, lists of scalars and lists of flat
    objects. Columns without names are called 0, 1, …, as in JSON. Raises NotAcceptable for other predictions
    and for duplicate column names.
    """
    table = _to_frame(to_plain(predictions))
    if table is None:
        problem = f"The model's answer ({type(predictions).__name__}) is not a table"
        raise NotAcceptable(f"{problem}, so it cannot be sent as {media_type}; JSON is available.")
    frame = _write_periods(table).set_axis([str(name) for name in table.columns], axis=1)
    if not frame.columns.is_unique:
        problem = "The model's answer names one column twice"
        raise NotAcceptable(f"{problem}, so it cannot be sent as {media_type}; JSON is available.")
    return frame.reset_index(drop=True)


def _to_frame(predictions: object) -> pd.DataFrame | None:
    if isinstance(predictions, pd.DataFrame):
        return predictions
    if isinstance(predictions, pd.Series):
        return pd.DataFrame(predictions)
    if isinstance(predictions, np.ndarray):
        is_table = predictions.ndim in {1, 2} and not predictions.dtype.names
        return pd.DataFrame(predictions) if is_table else None
    return _list_to_frame(to_plain_items(predictions)) if isinstance(predictions, list | tuple) else None


def _write_periods(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its periods as text, since Arrow would write their numbers."""
    periods = [at for at, dtype in enumerate(frame.dtypes) if isinstance(dtype, pd.PeriodDtype)]
    if not periods:
        return frame
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
    for at in periods:
        columns[at] = columns[at].astype(object).map(period_to_iso, na_action="ignore")
    return pd.concat(columns, axis=1)


def _list_to_frame(values: list[Any]) -> pd.DataFrame | None:
    if values and all(isinstance(value, dict) for value in values):
        flat = not any(isinstance(item, dict | list) for value in values for item in value.values())
        return pd.DataFrame.from_records(values) if flat else None
    scalar = not any(isinstance(value, dict | list | tuple | set | np.ndarray) for value in values)
    return pd.DataFrame({0: pd.Series(values)}) if scalar else None
