"""One cell of a column of arrays, objects or maps, exactly as the signature's type.

MLflow's own check of such a cell runs again in `predict`; what it would change there is refused here,
and where it takes no Python number (32 bit types, datetimes) it is given numpy's.
"""

from __future__ import annotations

from typing import Any

from mlflow.types.schema import AnyType, Array, DataType, Map, Object

from workers.codec.inputs.scalars import CONVERTERS

_NUMPY_SCALAR_TYPES = frozenset({DataType.integer, DataType.float, DataType.datetime})


class ValueMismatch(Exception):
    """The cell does not fit; the text says where in it and why, without its values."""

    def __init__(self, reason: str, at: str) -> None:
        super().__init__(f"at {at}: {reason}" if at else reason)


def convert_nested(value: object, kind: Any, *, required: bool = True, at: str = "") -> object:
    """`value` as `kind`, a type of MLflow's schemas. Raises Misfit.

    A type that is not known here is left for MLflow to judge.
    """
    if isinstance(kind, DataType):
        return _convert_scalar(value, kind, required=required, at=at)
    if isinstance(kind, Array):
        return _convert_array(value, kind, required=required, at=at)
    if isinstance(kind, Object):
        return _convert_object(value, kind, required=required, at=at)
    if isinstance(kind, Map):
        return _convert_map(value, kind, required=required, at=at)
    return value


def _convert_scalar(value: object, kind: DataType, *, required: bool, at: str) -> object:
    if value is None and not required:
        return None
    if value is None and kind not in {DataType.double, DataType.float}:
        raise ValueMismatch("null, where a value is required", at)
    if kind == DataType.binary:
        return _decode_bytes(value, at)
    built, bad = CONVERTERS[kind].convert([value])
    if bad:
        raise ValueMismatch(bad[0][1], at)
    if kind == DataType.string:
        return value
    cell = built.to_numpy()[0] if kind == DataType.datetime else built[0]
    return cell if kind in _NUMPY_SCALAR_TYPES else cell.item()


def _convert_array(value: object, kind: Array, *, required: bool, at: str) -> object:
    if value is None and (not required or isinstance(kind.dtype, AnyType)):
        return None
    if not isinstance(value, list):
        raise ValueMismatch("not a list", at)
    if not isinstance(kind.dtype, DataType):
        return [
            convert_nested(item, kind.dtype, required=required, at=f"{at}[{number}]")
            for number, item in enumerate(value)
        ]
    if kind.dtype == DataType.string:
        return [_check_text(item, f"{at}[{number}]") for number, item in enumerate(value)]
    if kind.dtype == DataType.binary:
        return [_decode_bytes(item, f"{at}[{number}]", in_numpy=True) for number, item in enumerate(value)]
    if not value:
        return value
    built, bad = CONVERTERS[kind.dtype].convert(value)
    if bad:
        raise ValueMismatch(bad[0][1], f"{at}[{bad[0][0]}]")
    cells = built.to_numpy() if kind.dtype == DataType.datetime else built
    return cells if kind.dtype in _NUMPY_SCALAR_TYPES else cells.tolist()


def _check_text(value: object, at: str) -> str:
    """A string in a cell."""
    if not isinstance(value, str):
        raise ValueMismatch("not a string", at)
    if value.endswith("\0"):
        raise ValueMismatch("ends in a NUL character, which numpy's strings drop", at)
    return value


def _decode_bytes(value: object, at: str, *, in_numpy: bool = False) -> bytes:
    """What the base64 in a cell stands for; MLflow makes numpy's byte strings of those in lists."""
    if value is None:
        raise ValueMismatch("null, where a value is required", at)
    built, bad = CONVERTERS[DataType.binary].convert([value])
    if bad:
        raise ValueMismatch(bad[0][1], at)
    made: bytes = built[0]
    if in_numpy and made.endswith(b"\0"):
        raise ValueMismatch("ends in a NUL byte, which numpy's byte strings drop", at)
    return made


def _convert_object(value: object, kind: Object, *, required: bool, at: str) -> object:
    if not required and value in (None, {}):
        return value
    if not isinstance(value, dict):
        raise ValueMismatch("not an object", at)
    known = {item.name: item for item in kind.properties}
    if missing := [name for name, item in known.items() if item.required and name not in value]:
        raise ValueMismatch(f"lacks {missing[0]!r}", at)
    if value.keys() - known.keys():
        raise ValueMismatch("has a property that the signature does not know", at)
    return {
        name: convert_nested(
            item, known[name].dtype, required=known[name].required, at=f"{at}.{name}".lstrip(".")
        )
        for name, item in value.items()
    }


def _convert_map(value: object, kind: Map, *, required: bool, at: str) -> object:
    if value in (None, {}) and (not required or isinstance(kind.value_type, AnyType)):
        return value
    if not isinstance(value, dict):
        raise ValueMismatch("not an object", at)
    return {
        name: convert_nested(item, kind.value_type, required=required, at=f"{at}.*".lstrip("."))
        for name, item in value.items()
    }
