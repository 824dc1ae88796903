"""Predictions as an Arrow stream, with the types that they have in the model."""

from __future__ import annotations

import warnings

import pyarrow as pa
from pyarrow import ipc

from workers.codec.prediction_table import predictions_to_frame
from workers.codec.request import DecodedRequest, EncodedResponse
from workers.errors import NotAcceptable
from workers.protocol.messages import ARROW


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyarrow calls deprecated functions of pandas for zoned times
            table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise not_representable(media_type) from error
    return table.replace_schema_metadata(None)


def not_representable(media_type: str) -> NotAcceptable:
    """Return the error for predictions that the media type cannot hold."""
    return NotAcceptable(
        f"A column of the model's answer holds values of several types, or of a type that {media_type} does "
        "not have; JSON is available."
    )
