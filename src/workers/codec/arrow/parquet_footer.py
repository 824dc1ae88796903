"""What a Parquet file's footer says of its schema's depth and of its size, read before pyarrow follows it.

pyarrow ends the process where a schema is too deep, and where Python asks it for the details of a damaged
column chunk, so that neither is asked of it. The footer is a struct in Thrift's compact form.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from
from typing import Any, Final

from workers.errors import InvalidInput

_MAGIC: Final = b"PAR1"
_TRAILER_BYTES: Final = 8  # the footer's length and the magic
_MAX_FOOTER_BYTES: Final = 16 * 2**20
_MAX_SCHEMA_DEPTH: Final = 100
_MAX_VALUE_DEPTH: Final = 16
_MIN_VALUE_BYTES: Final = 8  # bytes that a cell takes at least

_BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(3, 13)
_BOOLEANS: Final = (1, 2)  # as fields they have no byte, as items of a list one
_FIXED_SIZES: Final = {**dict.fromkeys(_BOOLEANS, 0), _BYTE: 1, _DOUBLE: 8}

# The fields of parquet.thrift that are wanted.
_SCHEMA, _ROW_GROUPS = 2, 4
_TYPE_LENGTH, _CHILDREN = 2, 5
_COLUMNS, _ROWS = 1, 3
_META_DATA, _VALUES, _PLAIN_SIZE = 3, 5, 6

Struct = dict[int, Any]


@dataclass(frozen=True, slots=True)
class Footer:
    """`size` is about the bytes that the file's pages, or its cells where they are more, become."""

    decoded_size: int


def read_footer(body: bytes) -> Footer:
    """The footer of a file. Raises InputRefused where there is none, and where its schema is too deep."""
    length = (
        unpack_from("<I", body, len(body) - _TRAILER_BYTES)[0]
        if len(body) >= _TRAILER_BYTES + len(_MAGIC)
        else 0
    )
    if not body.endswith(_MAGIC) or not 0 < length <= len(body) - _TRAILER_BYTES:
        raise not_parquet_error()
    if length > _MAX_FOOTER_BYTES:
        raise InvalidInput(f"The body's footer is larger than {_MAX_FOOTER_BYTES // 2**20} MiB.")
    try:
        document = _ThriftReader(body[-_TRAILER_BYTES - length : -_TRAILER_BYTES]).read_struct()
        schema = document[_SCHEMA]
        if _schema_depth(schema) > _MAX_SCHEMA_DEPTH:
            raise InvalidInput(f"The body's columns are nested more than {_MAX_SCHEMA_DEPTH} deep.")
        width = sum(
            max(_MIN_VALUE_BYTES, leaf.get(_TYPE_LENGTH, 0)) for leaf in schema if not leaf.get(_CHILDREN)
        )
        return Footer(sum(_row_group_size(group, width) for group in document.get(_ROW_GROUPS, ())))
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise not_parquet_error() from error


def not_parquet_error() -> InvalidInput:
    """The refusal of a body that is something else, or damaged."""
    return InvalidInput("The body is not a Parquet file, or ends too early.")


def _row_group_size(group: Struct, width: int) -> int:
    columns = [column.get(_META_DATA, {}) for column in group[_COLUMNS]]
    values = sum(max(0, column.get(_VALUES, 0)) for column in columns)
    pages = sum(max(0, column.get(_PLAIN_SIZE, 0)) for column in columns)
    return int(max(max(0, group.get(_ROWS, 0)) * width, values * _MIN_VALUE_BYTES, pages))


def _schema_depth(schema: list[Struct]) -> int:
    """The deepest nesting of a schema, whose elements say how many of the next are their children."""
    deepest, left = 0, [1]  # how many elements are still to come on each level
    for element in schema:
        while left and left[-1] <= 0:
            left.pop()
        if not left:
            raise ValueError("more elements than the schema has")
        left[-1] -= 1
        left.append(element.get(_CHILDREN, 0))
        deepest = max(deepest, len(left) - 1)
    return deepest


class _ThriftReader:
    """A cursor in Thrift's compact form. Raises IndexError and ValueError where it is none."""

    def __init__(self, text: bytes) -> None:
        self._buffer = text
        self._position = 0

    def read_struct(self, level: int = 0) -> Struct:
        """The fields of a struct by number: integers, lists and structs; others are None."""
        if level > _MAX_VALUE_DEPTH:
            raise ValueError("too deep")
        fields: Struct = {}
        number = 0
        while head := self._read_byte():
            number = number + (head >> 4) if head >> 4 else self._read_signed()
            fields[number] = self._read_value(head & 0x0F, level)
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
            raise ValueError("a kind that Parquet's footers do not have")
        return None

    def _read_list(self, level: int) -> list[Any]:
        if level > _MAX_VALUE_DEPTH:
            raise ValueError("too deep")
        head = self._read_byte()
        count, kind = head >> 4, head & 0x0F
        count = self._read_varint() if count == 15 else count
        kind = _BYTE if kind in _BOOLEANS else kind
        if count > len(self._buffer) - self._position:
            raise ValueError("a list that is longer than the footer")
        return [self._read_value(kind, level) for _ in range(count)]

    def _read_signed(self) -> int:
        number = self._read_varint()
        return (number >> 1) ^ -(number & 1)

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
        byte = self._buffer[self._position]
        self._position += 1
        return byte
