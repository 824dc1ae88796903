"""One cell of a column of arrays, objects or maps as the signature's type, without loss.

MLflow checks such a cell again in `predict`. A value that it would change there is rejected here. For the
types whose Python numbers it does not accept (32 bit types, datetimes), the cell gets numpy's.
"""

from __future__ import annotations

from typing import Any

from mlflow.types.schema import AnyType, Array, DataType, Map, Object

from workers.codec.inputs.scalars import CONVERTERS

_NUMPY_SCALAR_TYPES = frozenset({DataType.integer, DataType.float, DataType.datetime})


class ValueMismatch(Exception):
    """A cell does not fit; the text has the path within the cell and the reason, but no values."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(f"at {path}: {reason}" if path else reason)


def convert_nested(value: object, mlflow_type: Any, *, required: bool = True, path: str = "") -> object:
    """Return `value` as a type of MLflow's schemas. Raises ValueMismatch.

    A value of a type that is unknown here is returned unchanged, for MLflow to check.
    """
    if isinstance(mlflow_type, DataType):
        return _convert_scalar(value, mlflow_type, required=required, path=path)
    if isinstance(mlflow_type, Array):
        return _convert_array(value, mlflow_type, required=required, path=path)
    if isinstance(mlflow_type, Object):
        return _convert_object(value, mlflow_type, required=required, path=path)
    if isinstance(mlflow_type, Map):
        return _convert_map(value, mlflow_type, required=required, path=path)
    return value


def _convert_scalar(value: object, data_type: DataType, *, required: bool, path: str) -> object:
    if value is None and not required:
        return None
    if value is None and data_type not in {DataType.double, DataType.float}:
        raise ValueMismatch("null, which is not allowed here", path)
    if data_type == DataType.binary:
        return _decode_bytes(value, path)
    converted, errors = CONVERTERS[data_type].convert([value])
    if errors:
        raise ValueMismatch(errors[0][1], path)
    if data_type == DataType.string:
        return value
    cell = converted.to_numpy()[0] if data_type == DataType.datetime else converted[0]
    return cell if data_type in _NUMPY_SCALAR_TYPES else cell.item()


def _convert_array(value: object, array: Array, *, required: bool, path: str) -> object:
    item_type = array.dtype
    if value is None and (not required or isinstance(item_type, AnyType)):
        return None
    if not isinstance(value, list):
        raise ValueMismatch("not a list", path)
    if not isinstance(item_type, DataType):
        return [
            convert_nested(item, item_type, required=required, path=f"{path}[{number}]")
            for number, item in enumerate(value)
        ]
    if item_type == DataType.string:
        return [_check_text(item, f"{path}[{number}]") for number, item in enumerate(value)]
    if item_type == DataType.binary:
        return [_decode_bytes(item, f"{path}[{number}]", in_list=True) for number, item in enumerate(value)]
    if not value:
        return value
    converted, errors = CONVERTERS[item_type].convert(value)
    if errors:
        raise ValueMismatch(errors[0][1], f"{path}[{errors[0][0]}]")
    cells = converted.to_numpy() if item_type == DataType.datetime else converted
    return cells if item_type in _NUMPY_SCALAR_TYPES else cells.tolist()


def _check_text(value: object, path: str) -> str:
    """Return a string that numpy's strings can hold."""
    if not isinstance(value, str):
        raise ValueMismatch("not a string", path)
    if value.endswith("\0"):
        raise ValueMismatch("ends in a NUL character, which numpy's strings drop", path)
    return value


def _decode_bytes(value: object, path: str, *, in_list: bool = False) -> bytes:
    """Decode base64; MLflow makes numpy's byte strings of bytes in lists."""
    if value is None:
        raise ValueMismatch("null, which is not allowed here", path)
    converted, errors = CONVERTERS[DataType.binary].convert([value])
    if errors:
        raise ValueMismatch(errors[0][1], path)
    decoded: bytes = converted[0]
    if in_list and decoded.endswith(b"\0"):
        raise ValueMismatch("ends in a NUL byte, which numpy's byte strings drop", path)
    return decoded


def _convert_object(value: object, mlflow_object: Object, *, required: bool, path: str) -> object:
    if not required and value in (None, {}):
        return value
    if not isinstance(value, dict):
        raise ValueMismatch("not an object", path)
    known = {item.name: item for item in mlflow_object.properties}
    if missing := [name for name, item in known.items() if item.required and name not in value]:
        raise ValueMismatch(f"lacks {missing[0]!r}", path)
    if value.keys() - known.keys():
        raise ValueMismatch("has a property that the signature does not know", path)
    return {
        name: convert_nested(
            item, known[name].dtype, required=known[name].required, path=f"{path}.{name}".lstrip(".")
        )
        for name, item in value.items()
    }


def _convert_map(value: object, mlflow_map: Map, *, required: bool, path: str) -> object:
    if value in (None, {}) and (not required or isinstance(mlflow_map.value_type, AnyType)):
        return value
    if not isinstance(value, dict):
        raise ValueMismatch("not an object", path)
    return {
        name: convert_nested(item, mlflow_map.value_type, required=required, path=f"{path}.*".lstrip("."))
        for name, item in value.items()
    }
