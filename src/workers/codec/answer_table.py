"""Which answers of a model are tables, and those as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workers.errors import NotAcceptable

if TYPE_CHECKING:
    from collections.abc import Sequence


def predictions_to_frame(predictions: object, media_type: str) -> pd.DataFrame:
    """The predictions as a table without index, whose columns have texts as names.

    Tables are DataFrames, Series, arrays of one or two dimensions, lists of scalars and lists of
    flat objects; columns without names are called 0, 1, …, as in JSON. Raises AnswerRefused.
    """
    made = _to_frame(predictions)
    if made is None:
        kind = type(predictions).__name__
        raise NotAcceptable(
            f"The model's answer ({kind}) is no table, so that it cannot be {media_type}; JSON can be had."
        )
    frame = made.set_axis([str(name) for name in made.columns], axis=1)
    if not frame.columns.is_unique:
        raise NotAcceptable(
            f"The model's answer names one column twice, so that it cannot be {media_type}; JSON can be had."
        )
    return frame.reset_index(drop=True)


def _to_frame(predictions: object) -> pd.DataFrame | None:
    if isinstance(predictions, pd.DataFrame):
        return predictions
    if isinstance(predictions, pd.Series):
        return pd.DataFrame(predictions)
    if hasattr(predictions, "toarray"):  # scipy's sparse matrices
        predictions = np.asarray(predictions.toarray())
    if isinstance(predictions, np.ndarray):
        return (
            pd.DataFrame(predictions) if predictions.ndim in {1, 2} and not predictions.dtype.names else None
        )
    return _list_to_frame(predictions) if isinstance(predictions, list) else None


def _list_to_frame(values: Sequence[Any]) -> pd.DataFrame | None:
    if values and all(isinstance(value, dict) for value in values):
        flat = not any(isinstance(item, dict | list) for value in values for item in value.values())
        return pd.DataFrame.from_records(list(values)) if flat else None
    scalar = not any(isinstance(value, dict | list | tuple | set | np.ndarray) for value in values)
    return pd.DataFrame({0: pd.Series(list(values))}) if scalar else None
