"""Tabular answers in CSV: a header line, then a line for each row, as RFC 4180 has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd

from workers.codec.answer_table import predictions_to_frame
from workers.codec.json import answer as json_answer
from workers.codec.request import EncodedResponse
from workers.protocol.messages import CSV

if TYPE_CHECKING:
    from workers.codec.request import DecodedRequest

_LINE_END = "\r\n"


def encode(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """The predictions as CSV. NaN and null are empty cells; what is no number is written as JSON has it.

    Raises AnswerRefused where they are no table, ModelFailed where a value has no form.
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
    """A text as it is, everything else as its JSON, null as nothing."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    text = json_answer.to_json(value)
    if text == b"null":
        return None
    return orjson.loads(text) if text.startswith(b'"') else text.decode()
