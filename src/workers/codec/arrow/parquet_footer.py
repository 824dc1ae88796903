"""The footer of a Parquet file, read before pyarrow is: its schema's depth and the file's decoded size.

pyarrow ends the process if a schema is too deep, and if Python asks for the details of a damaged column
chunk. So neither is left to it. The footer is a struct in Thrift's compact protocol.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from workers.codec.arrow.size_limits import MIN_VALUE_BYTES
from workers.codec.arrow.thrift import Struct, ThriftReader
from workers.errors import InvalidInput

_MAGIC: Final = b"PAR1"
_TRAILER_BYTES: Final = 8  # the footer's length and the magic
_MAX_FOOTER_BYTES: Final = 16 * 2**20
_MAX_SCHEMA_DEPTH: Final = 100

# Numbers of fields in parquet.thrift
_SCHEMA, ROW_GROUPS = 2, 4
_TYPE_LENGTH, _CHILDREN = 2, 5
COLUMNS, _ROWS = 1, 3
META_DATA, _VALUES, _PLAIN_SIZE = 3, 5, 6


def read_decoded_size(body: bytes) -> int:
    """Return the approximate bytes that the file's pages become, or its values if they take more.

    Raises InvalidInput if the body has no footer, or its schema is too deep.
    """
    try:
        footer = read_footer(body)
        schema = footer[_SCHEMA]
        if _schema_depth(schema) > _MAX_SCHEMA_DEPTH:
            raise InvalidInput(f"The body's columns are nested more than {_MAX_SCHEMA_DEPTH} deep.")
        row_bytes = sum(
            max(MIN_VALUE_BYTES, leaf.get(_TYPE_LENGTH, 0)) for leaf in schema if not leaf.get(_CHILDREN)
        )
        return sum(_row_group_size(group, row_bytes) for group in footer.get(ROW_GROUPS, ()))
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise not_parquet_error() from error


def read_footer(body: bytes) -> Struct:
    """Return the fields of the footer. A damaged one raises any exception."""
    return ThriftReader(_footer_bytes(body)).read_struct()


def not_parquet_error() -> InvalidInput:
    """Return the error for a body that is not Parquet, or damaged."""
    return InvalidInput("The body is not a Parquet file, or ends too early.")


def _footer_bytes(body: bytes) -> bytes:
    if not body.endswith(_MAGIC) or len(body) < _TRAILER_BYTES + len(_MAGIC):
        raise not_parquet_error()
    length = unpack_from("<I", body, len(body) - _TRAILER_BYTES)[0]
    if not 0 < length <= len(body) - _TRAILER_BYTES:
        raise not_parquet_error()
    if length > _MAX_FOOTER_BYTES:
        raise InvalidInput(f"The body's footer is larger than {_MAX_FOOTER_BYTES // 2**20} MiB.")
    return body[-_TRAILER_BYTES - length : -_TRAILER_BYTES]


def _row_group_size(group: Struct, row_bytes: int) -> int:
    columns = [column.get(META_DATA, {}) for column in group[COLUMNS]]
    values = sum(max(0, column.get(_VALUES, 0)) for column in columns)
    pages = sum(max(0, column.get(_PLAIN_SIZE, 0)) for column in columns)
    return int(max(max(0, group.get(_ROWS, 0)) * row_bytes, values * MIN_VALUE_BYTES, pages))


def _schema_depth(schema: list[Struct]) -> int:
    """Return the deepest nesting of a schema, a list in which the children of an element follow it."""
    deepest, remaining = 0, [1]  # elements that are still to come on each level
    for element in schema:
        while remaining and remaining[-1] <= 0:
            remaining.pop()
        if not remaining:
            raise ValueError("more elements than the schema has")
        remaining[-1] -= 1
        remaining.append(element.get(_CHILDREN, 0))
        deepest = max(deepest, len(remaining) - 1)
    return deepest
