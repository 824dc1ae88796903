"""Tabular answers in Arrow's stream format and in Parquet, with the types that they have in the model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import ipc, parquet

from workers.codec.answer_table import predictions_to_frame
from workers.codec.request import EncodedResponse
from workers.errors import NotAcceptable
from workers.protocol.messages import ARROW, PARQUET

if TYPE_CHECKING:
    from workers.codec.request import DecodedRequest


def encode_arrow(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """The predictions as an Arrow stream. Raises AnswerRefused where they are no table of Arrow's types."""
    made = _to_arrow_table(predictions, ARROW)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, made.schema) as stream:
        stream.write_table(made)
    return EncodedResponse(sink.getvalue().to_pybytes(), content_type=ARROW)


def encode_parquet(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """The predictions as a Parquet file. Raises AnswerRefused likewise."""
    made = _to_arrow_table(predictions, PARQUET)
    sink = pa.BufferOutputStream()
    try:
        parquet.write_table(made, sink)
    except pa.ArrowException as error:
        raise _not_representable(PARQUET) from error
    return EncodedResponse(sink.getvalue().to_pybytes(), content_type=PARQUET)


def _to_arrow_table(predictions: object, media_type: str) -> pa.Table:
    frame = predictions_to_frame(predictions, media_type)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what pyarrow asks pandas for, where times have a zone
            made = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _not_representable(media_type) from error
    return made.replace_schema_metadata(None)


def _not_representable(media_type: str) -> NotAcceptable:
    return NotAcceptable(
        f"A column of the model's answer holds values of several types, or of one that {media_type} does not "
        "have; JSON can be had."
    )
