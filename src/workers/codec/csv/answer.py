"""Predictions as CSV: a header line and a line for each row (RFC 4180)."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pandas as pd

from workers.codec.json import answer as json_answer
from workers.codec.prediction_table import predictions_to_frame
from workers.codec.request import DecodedRequest, EncodedResponse
from workers.protocol.messages import CSV

_LINE_END = "\r\n"


def encode(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """Encode the predictions as CSV. NaN and null become empty cells; values that are no numbers, JSON.

    Raises NotAcceptable if they are not a table, and ModelError if a value has no JSON form.
    """
    frame = predictions_to_frame(predictions, CSV)
    columns = {name: _format_column(frame[name]) for name in frame.columns}
    text = pd.DataFrame(columns, index=frame.index, columns=frame.columns).to_csv(
        index=False, lineterminator=_LINE_END
    )
    return EncodedResponse(text.encode("utf-8", "replace"), content_type=CSV)


def _format_column(column: pd.Series[Any]) -> pd.Series[Any]:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return column
    return pd.Series([_format_value(value) for value in column], dtype=object)


def _format_value(value: object) -> object:
    """Return text and numbers as they are, null as None, and any other value as JSON."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    text = json_answer.to_json(value)
    if text == b"null":
        return None
    return orjson.loads(text) if text.startswith(b'"') else text.decode()
