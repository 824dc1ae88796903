"""Families of Arrow types."""

from __future__ import annotations

import pyarrow as pa


def is_number(arrow_type: pa.DataType) -> bool:
    """Return whether the type is one of integers, floats or decimals."""
    return bool(
        pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type) or pa.types.is_decimal(arrow_type)
    )


def is_text(arrow_type: pa.DataType) -> bool:
    """Return whether the type is one of strings."""
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def is_binary(arrow_type: pa.DataType) -> bool:
    """Return whether the type is one of bytes."""
    return bool(
        pa.types.is_binary(arrow_type)
        or pa.types.is_large_binary(arrow_type)
        or pa.types.is_fixed_size_binary(arrow_type)
    )


def is_datetime(arrow_type: pa.DataType) -> bool:
    """Return whether the type is one of dates and times, or of strings, which may hold them."""
    return bool(pa.types.is_timestamp(arrow_type) or pa.types.is_date(arrow_type) or is_text(arrow_type))


def is_list(arrow_type: pa.DataType) -> bool:
    """Return whether the type is one of lists."""
    return bool(
        pa.types.is_list(arrow_type)
        or pa.types.is_large_list(arrow_type)
        or pa.types.is_fixed_size_list(arrow_type)
    )


def type_name(arrow_type: pa.DataType) -> str:
    """Return a name of the type for errors; it has no text that a client chose, such as a zone's name."""
    if pa.types.is_primitive(arrow_type):
        return str(arrow_type).partition("[")[0]
    names = {"text": is_text, "binary": is_binary, "list": is_list, "decimal": pa.types.is_decimal}
    return next((name for name, matches in names.items() if matches(arrow_type)), "struct or map")
