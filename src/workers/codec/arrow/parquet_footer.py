"""The footer of a Parquet file, read before pyarrow is: its schema's depth and the file's decoded size.

pyarrow ends the process if a schema is too deep, and if Python asks for the details of a damaged column
chunk. So neither is left to it. The footer is a struct in Thrift's compact protocol.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Any, Final

from workers.codec.arrow.size_limits import MIN_VALUE_BYTES
from workers.errors import InvalidInput

_MAGIC: Final = b"PAR1"
_TRAILER_BYTES: Final = 8  # the footer's length and the magic
_MAX_FOOTER_BYTES: Final = 16 * 2**20
_MAX_SCHEMA_DEPTH: Final = 100
_MAX_VALUE_DEPTH: Final = 16

_BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(3, 13)
_BOOLEANS: Final = (1, 2)  # as fields they take no byte, as items of a list one
_FIXED_SIZES: Final = {**dict.fromkeys(_BOOLEANS, 0), _BYTE: 1, _DOUBLE: 8}

# Numbers of fields in parquet.thrift
_SCHEMA, _ROW_GROUPS = 2, 4
_TYPE_LENGTH, _CHILDREN = 2, 5
_COLUMNS, _ROWS = 1, 3
_META_DATA, _VALUES, _PLAIN_SIZE = 3, 5, 6

Struct = dict[int, Any]


def read_decoded_size(body: bytes) -> int:
    """Return the approximate bytes that the file's pages become, or its values if they take more.

    Raises InvalidInput if the body has no footer, or its schema is too deep.
    """
    try:
        footer = _ThriftReader(_footer_bytes(body)).read_struct()
        schema = footer[_SCHEMA]
        if _schema_depth(schema) > _MAX_SCHEMA_DEPTH:
            raise InvalidInput(f"The body's columns are nested more than {_MAX_SCHEMA_DEPTH} deep.")
        row_bytes = sum(
            max(MIN_VALUE_BYTES, leaf.get(_TYPE_LENGTH, 0)) for leaf in schema if not leaf.get(_CHILDREN)
        )
        return sum(_row_group_size(group, row_bytes) for group in footer.get(_ROW_GROUPS, ()))
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise not_parquet_error() from error


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
    columns = [column.get(_META_DATA, {}) for column in group[_COLUMNS]]
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


class _ThriftReader:
    """A reader of Thrift's compact protocol. It raises IndexError and ValueError for damaged data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read_struct(self, level: int = 0) -> Struct:
        """Return the fields of a struct by number: integers, lists and structs; others are None."""
        if level > _MAX_VALUE_DEPTH:
            raise ValueError("too deep")
        fields: Struct = {}
        number = 0
        while header := self._read_byte():
            number = number + (header >> 4) if header >> 4 else self._read_signed()
            fields[number] = self._read_value(header & 0x0F, level)
        return fields

    def _read_value(self, kind: int, level: int) -> Any:
        if kind in {_I16, _I32, _I64}:
            return self._read_signed()
        if kind in {_LIST, _SET}:
            return self._read_list(level + 1)
        if kind == _STRUCT:
            return self.read_struct(level + 1)
        if kind == _BINARY:
            length = self._read_varint()
            self._position += length
        elif kind in _FIXED_SIZES:
            self._position += _FIXED_SIZES[kind]
        else:
            raise ValueError("a type that Parquet footers do not have")
        return None

    def _read_list(self, level: int) -> list[Any]:
        if level > _MAX_VALUE_DEPTH:
            raise ValueError("too deep")
        header = self._read_byte()
        count, kind = header >> 4, header & 0x0F
        count = self._read_varint() if count == 15 else count
        kind = _BYTE if kind in _BOOLEANS else kind
        if count > len(self._data) - self._position:
            raise ValueError("a list that is longer than the footer")
        return [self._read_value(kind, level) for _ in range(count)]

    def _read_signed(self) -> int:
        zigzag = self._read_varint()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def _read_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._read_byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number that is too long")

    def _read_byte(self) -> int:
        byte = self._data[self._position]
        self._position += 1
        return byte
