"""How large Arrow data becomes once it is decoded; known before it is, so that a bomb is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LEAST_LIMIT: Final = 256 * 2**20
_TIMES_THE_BODY: Final = 4
_CELL: Final = 8  # bytes that a cell takes at least
_VIEW: Final = 16  # bytes of a view
_CONTAINER: Final = 64  # bytes that a list or an object takes in Python


def limit(body: bytes) -> int:
    """The most bytes that a body may become: 256 MiB, or four times its own size where that is more."""
    return max(_LEAST_LIMIT, _TIMES_THE_BODY * len(body))


def too_large(most: int) -> InvalidInput:
    """The refusal of a body that would become more than `most` bytes."""
    return InvalidInput(
        f"The body becomes more than {most // 2**20} MiB when decoded; send fewer rows at a time."
    )


def check(table: pa.Table, *, most: int) -> None:
    """Raises InputRefused where the table takes more than `most` bytes as the values that it stands for."""
    size = 0
    for column in table.itercolumns():
        for chunk in column.chunks:
            size += expanded(chunk)
            if size > most:
                raise too_large(most)


def expanded(array: pa.Array) -> int:
    """About the bytes of an array's values, each counted as often as it stands there.

    Raises InputRefused for a type that has no place in a table of model inputs.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return expanded(array.storage)
    return next(size for test, size in _SIZES if test(kind))(array)


def _sum(arrays: Iterable[pa.Array]) -> int:
    return sum(expanded(array) for array in arrays)


def _has_lengths(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_string_view,
            pa.types.is_binary_view,
        )
    )


def _lengths(texts: pa.Array) -> pa.Array:
    if not (pa.types.is_string_view(texts.type) or pa.types.is_binary_view(texts.type)):
        return pc.cast(pc.binary_length(texts), pa.int64())
    # A view's length is the first of the four 32-bit numbers that it is; Arrow has no function for it.
    views = np.frombuffer(texts.buffers()[1], dtype="<i4")[:: _VIEW // 4]
    lengths = pa.array(views[texts.offset : texts.offset + len(texts)].astype(np.int64))
    return pc.if_else(texts.is_valid(), lengths, 0)


def _total(texts: pa.Array) -> int:
    return int(pc.sum(_lengths(texts)).as_py() or 0) if len(texts) else 0


def _repeated(array: pa.DictionaryArray) -> int:
    """The bytes of a dictionary's entries, each as often as it is referred to."""
    entries = array.dictionary
    if _has_lengths(entries.type):
        return int(pc.sum(_lengths(entries).take(array.indices)).as_py() or 0) if len(entries) else 0
    each = _CELL if pa.types.is_primitive(entries.type) else expanded(entries)
    return each * len(array)


def _struct(array: pa.StructArray) -> int:
    return len(array) * _CONTAINER + _sum(array.field(at) for at in range(array.type.num_fields))


def _refused(_: pa.Array) -> int:
    raise InvalidInput(
        "The body has a column of an Arrow type that is not read here (a union, a list of views or run-ends)."
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_flat(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_primitive(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_decimal(kind)
    )


_SIZES: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], int]], ...]] = (
    (pa.types.is_null, lambda array: len(array) * _CELL),
    (_is_flat, lambda array: len(array) * max(_CELL, array.type.bit_width // 8)),
    (_has_lengths, lambda array: len(array) * _CELL + _total(array)),
    (pa.types.is_dictionary, lambda array: len(array) * _CELL + _repeated(array)),
    (pa.types.is_struct, _struct),
    (pa.types.is_map, lambda array: len(array) * _CONTAINER + expanded(array.keys) + expanded(array.items)),
    (_is_list, lambda array: len(array) * _CONTAINER + expanded(array.values)),
    (lambda _: True, _refused),
)
