"""Predictions as an Arrow stream, with the types that they have in the model."""

from __future__ import annotations

import warnings
from typing import Any, Final

import pandas as pd
import pyarrow as pa
from pyarrow import ipc

from workers.codec.arrow import answer_columns
from workers.codec.plain import to_plain_items
from workers.codec.prediction_table import predictions_to_frame
from workers.codec.request import DecodedRequest, EncodedResponse
from workers.errors import NotAcceptable
from workers.protocol.messages import ARROW

_CONVERSION_ERRORS: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)


def encode(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """Encode the predictions as an Arrow stream. Raises NotAcceptable if Arrow cannot hold them."""
    table = predictions_to_table(predictions, ARROW)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return EncodedResponse(sink.getvalue().to_pybytes(), content_type=ARROW)


def predictions_to_table(predictions: object, media_type: str) -> pa.Table:
    """Return the predictions as an Arrow table. Raises NotAcceptable if Arrow cannot hold them."""
    frame = predictions_to_frame(predictions, media_type)
    try:
        table = _convert(frame)
    except _CONVERSION_ERRORS as error:
        raise not_representable(media_type) from error
    if answer_columns.changes_values(frame, table):
        raise not_representable(media_type)
    return table


def _convert(frame: pd.DataFrame) -> pa.Table:
    """Return the frame as a table; a second time with plain values if Arrow lacks a type of the frame's."""
    try:
        return _to_table(frame)
    except _CONVERSION_ERRORS:
        plain = answer_columns.to_plain_dtypes(frame)
    return _to_table(pd.DataFrame({name: _to_plain_column(plain[name]) for name in plain.columns}))


def _to_table(frame: pd.DataFrame) -> pa.Table:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyarrow calls deprecated functions of pandas for zoned times
        table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
    return table.replace_schema_metadata(None)


def _to_plain_column(column: pd.Series[Any]) -> pd.Series[Any]:
    return pd.Series(to_plain_items(list(column)), dtype=object) if column.dtype == object else column


def not_representable(media_type: str) -> NotAcceptable:
    """Return the error for predictions that the media type cannot hold."""
    return NotAcceptable(
        f"A column of the model's answer holds values of several types, or of a type that {media_type} does "
        "not have or would round; JSON is available."
    )
