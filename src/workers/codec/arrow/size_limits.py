"""Limits on the size of decoded Arrow data, checked before Python objects are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.codec.arrow.types import is_list
from workers.errors import InvalidInput

MIN_VALUE_BYTES: Final = 8  # that a value is counted as at least
_MIN_LIMIT_BYTES: Final = 256 * 2**20
_MAX_EXPANSION_RATIO: Final = 4
_VIEW_BYTES: Final = 16  # of the view of a text
_CONTAINER_BYTES: Final = 64  # of a list or an object in Python


def max_decoded_bytes(body: bytes) -> int:
    """Return the most bytes that a body may become: 256 MiB, or four times its own size if that is more."""
    return max(_MIN_LIMIT_BYTES, _MAX_EXPANSION_RATIO * len(body))


def too_large_error(max_bytes: int) -> InvalidInput:
    """Return the error for a body that would become more than `max_bytes`."""
    return InvalidInput(
        f"The body becomes more than {max_bytes // 2**20} MiB when decoded; send fewer rows at a time."
    )


def check_decoded_size(table: pa.Table, *, max_bytes: int) -> None:
    """Raise InvalidInput if the values of the table take more than `max_bytes`."""
    size = 0
    for column in table.itercolumns():
        for chunk in column.chunks:
            size += decoded_size(chunk)
            if size > max_bytes:
                raise too_large_error(max_bytes)


def decoded_size(array: pa.Array) -> int:
    """Return the approximate bytes of an array's values; a value that is shared counts each time.

    Raises InvalidInput for a type that is not supported.
    """
    arrow_type = array.type
    if isinstance(arrow_type, pa.BaseExtensionType):
        return decoded_size(array.storage)
    return next(size for matches, size in _SIZE_FUNCTIONS if matches(arrow_type))(array)


def _sum_sizes(arrays: Iterable[pa.Array]) -> int:
    return sum(decoded_size(array) for array in arrays)


def _is_variable_length(arrow_type: pa.DataType) -> bool:
    return any(
        matches(arrow_type)
        for matches in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_string_view,
            pa.types.is_binary_view,
        )
    )


def _byte_lengths(texts: pa.Array) -> pa.Array:
    if not (pa.types.is_string_view(texts.type) or pa.types.is_binary_view(texts.type)):
        return pc.cast(pc.binary_length(texts), pa.int64())
    # A view is four 32-bit numbers, of which the first is the length. Arrow has no function for it.
    views = np.frombuffer(texts.buffers()[1], dtype="<i4")[:: _VIEW_BYTES // 4]
    lengths = pa.array(views[texts.offset : texts.offset + len(texts)].astype(np.int64))
    return pc.if_else(texts.is_valid(), lengths, 0)


def _total_bytes(texts: pa.Array) -> int:
    return int(pc.sum(_byte_lengths(texts)).as_py() or 0) if len(texts) else 0


def _dictionary_size(array: pa.DictionaryArray) -> int:
    """Return the bytes of a dictionary's entries, each counted as often as it is referenced."""
    entries = array.dictionary
    if _is_variable_length(entries.type):
        return int(pc.sum(_byte_lengths(entries).take(array.indices)).as_py() or 0) if len(entries) else 0
    entry_bytes = MIN_VALUE_BYTES if pa.types.is_primitive(entries.type) else decoded_size(entries)
    return entry_bytes * len(array)


def _struct_size(array: pa.StructArray) -> int:
    return len(array) * _CONTAINER_BYTES + _sum_sizes(array.field(at) for at in range(array.type.num_fields))


def _reject_type(_: pa.Array) -> int:
    raise InvalidInput(
        "The body has a column of an Arrow type that is not read here (a union, a list of views or run-ends)."
    )


def _is_flat(arrow_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_primitive(arrow_type)
        or pa.types.is_fixed_size_binary(arrow_type)
        or pa.types.is_decimal(arrow_type)
    )


_SIZE_FUNCTIONS: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], int]], ...]] = (
    (pa.types.is_null, lambda array: len(array) * MIN_VALUE_BYTES),
    (_is_flat, lambda array: len(array) * max(MIN_VALUE_BYTES, array.type.bit_width // 8)),
    (_is_variable_length, lambda array: len(array) * MIN_VALUE_BYTES + _total_bytes(array)),
    (pa.types.is_dictionary, lambda array: len(array) * MIN_VALUE_BYTES + _dictionary_size(array)),
    (pa.types.is_struct, _struct_size),
    (
        pa.types.is_map,
        lambda array: len(array) * _CONTAINER_BYTES + decoded_size(array.keys) + decoded_size(array.items),
    ),
    (is_list, lambda array: len(array) * _CONTAINER_BYTES + decoded_size(array.values)),
    (lambda _: True, _reject_type),
)
