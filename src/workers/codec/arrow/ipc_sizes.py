"""The decompressed size of an Arrow stream, read from its message headers before anything is decompressed.

A record batch may hold compressed buffers, each of which begins with its decompressed size. pyarrow trusts
that size and has no limit. So the headers are read here: they are FlatBuffers (Arrow's `Message.fbs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import ipc

# Positions of fields in the tables of Message.fbs
_HEADER_FIELD: Final = 2
_BATCH_BUFFERS: Final = 2
_BATCH_COMPRESSION: Final = 3
_DICTIONARY_BATCH: Final = 1
_NOT_COMPRESSED: Final = -1
_LENGTH_PREFIX_BYTES: Final = 8


def decompressed_size(body: bytes) -> int:
    """Return the bytes of all compressed buffers when decompressed. A damaged stream raises any exception."""
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
    header = message.metadata.to_pybytes()
    batch = _target_offset(header, _field_offset(header, unpack_from("<I", header)[0], _HEADER_FIELD))
    if message.type == "dictionary":
        batch = _target_offset(header, _field_offset(header, batch, _DICTIONARY_BATCH))
    if not _field_offset(header, batch, _BATCH_COMPRESSION):
        return 0
    vector = _target_offset(header, _field_offset(header, batch, _BATCH_BUFFERS))
    count = unpack_from("<I", header, vector)[0]
    buffers = np.frombuffer(header, dtype="<i8", count=2 * count, offset=vector + 4).reshape(-1, 2)
    return sum(_decompressed_buffer_size(message.body, start, length) for start, length in buffers.tolist())


def _decompressed_buffer_size(body: pa.Buffer, start: int, length: int) -> int:
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


def _field_offset(header: bytes, table: int, number: int) -> int:
    """Return the offset of a field of a table by its number, or 0 if the table lacks it."""
    vtable = table - unpack_from("<i", header, table)[0]
    entry = 4 + 2 * number
    if entry >= unpack_from("<H", header, vtable)[0]:
        return 0
    offset = unpack_from("<H", header, vtable + entry)[0]
    return table + offset if offset else 0


def _target_offset(header: bytes, field: int) -> int:
    """Return the offset of the table or vector that a field points to."""
    if not field:
        raise ValueError("a message without its content")
    return int(field + unpack_from("<I", header, field)[0])
