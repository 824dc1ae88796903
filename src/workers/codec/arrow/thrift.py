"""Structs in Thrift's compact protocol, as the footers and the pages of Parquet files have them."""

from __future__ import annotations

from typing import Any, Final

_MAX_VALUE_DEPTH: Final = 16

_BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(3, 13)
_BOOLEANS: Final = (1, 2)  # as fields they take no byte, as items of a list one
_FIXED_SIZES: Final = {**dict.fromkeys(_BOOLEANS, 0), _BYTE: 1, _DOUBLE: 8}

Struct = dict[int, Any]


class ThriftReader:
    """A reader of Thrift's compact protocol. It raises IndexError and ValueError for damaged data."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position

    @property
    def position(self) -> int:
        """Return where the next value begins."""
        return self._position

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
