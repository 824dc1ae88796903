"""How large the messages of an Arrow stream become, read from their heads before anything is decompressed.

A record batch may hold compressed buffers, each of which says its plain length first. pyarrow believes
it and has no limit, so that the heads are read here: they are FlatBuffers, as Arrow's `Message.fbs` has them.
"""

from __future__ import annotations

from struct import unpack_from
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from pyarrow import ipc

if TYPE_CHECKING:
    from collections.abc import Iterator

# The places of fields in the tables of Message.fbs, where they are wanted.
_HEADER_FIELD: Final = 2
_BATCH_BUFFERS: Final = 2
_BATCH_COMPRESSION: Final = 3
_DICTIONARY_BATCH: Final = 1
_NOT_COMPRESSED: Final = -1
_LENGTH_PREFIX_BYTES: Final = 8


def decompressed_size(body: bytes) -> int:
    """The plain bytes of all compressed buffers. Raises whatever a damaged stream causes."""
    return sum(_message_size(message) for message in _read_messages(body))


def _read_messages(body: bytes) -> Iterator[ipc.Message]:
    reader = ipc.MessageReader.open_stream(pa.BufferReader(body))
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _message_size(message: ipc.Message) -> int:
    if message.type not in {"record batch", "dictionary"}:
        return 0
    head = message.metadata.to_pybytes()
    batch = _target_offset(head, _field_offset(head, unpack_from("<I", head)[0], _HEADER_FIELD))
    if message.type == "dictionary":
        batch = _target_offset(head, _field_offset(head, batch, _DICTIONARY_BATCH))
    if not _field_offset(head, batch, _BATCH_COMPRESSION):
        return 0
    vector = _target_offset(head, _field_offset(head, batch, _BATCH_BUFFERS))
    count = unpack_from("<I", head, vector)[0]
    buffers = np.frombuffer(head, dtype="<i8", count=2 * count, offset=vector + 4).reshape(-1, 2)
    return sum(_uncompressed_size(message.body, start, length) for start, length in buffers.tolist())


def _uncompressed_size(body: pa.Buffer, start: int, length: int) -> int:
    if length < _LENGTH_PREFIX_BYTES:
        return 0
    if not 0 <= start <= body.size - _LENGTH_PREFIX_BYTES:
        raise ValueError("a buffer lies outside of its message")
    size: int = unpack_from("<q", body, start)[0]
    if size == _NOT_COMPRESSED:
        return length
    if size < 0:
        raise ValueError("a buffer of a negative length")
    return size


def _field_offset(head: bytes, table: int, number: int) -> int:
    """Where field `number` of a table lies, 0 where the table does not have it."""
    places = table - unpack_from("<i", head, table)[0]
    slot = 4 + 2 * number
    if slot >= unpack_from("<H", head, places)[0]:
        return 0
    offset = unpack_from("<H", head, places + slot)[0]
    return table + offset if offset else 0


def _target_offset(head: bytes, field: int) -> int:
    """Where the table or vector lies that a field points to."""
    if not field:
        raise ValueError("a message without its content")
    return int(field + unpack_from("<I", head, field)[0])
