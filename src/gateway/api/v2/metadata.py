"""A signature as metadata of the Open Inference Protocol, in the terms of MLServer's MLflow runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.domain.mlmodel import Signature

JsonObject = dict[str, object]

_COLUMN_DATATYPES: Final[Mapping[object, tuple[str, str]]] = {
    "boolean": ("BOOL", "np"),
    "integer": ("INT32", "np"),
    "long": ("INT64", "np"),
    "float": ("FP32", "np"),
    "double": ("FP64", "np"),
    "string": ("BYTES", "str"),
    "binary": ("BYTES", "base64"),
    "datetime": ("BYTES", "datetime"),
}
_FALLBACK_DATATYPE: Final = ("BYTES", "pd_json")  # arrays, objects, maps, and types that MLflow may add
_TENSOR_DATATYPES: Final[Mapping[str, str]] = {
    "bool": "BOOL",
    **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
}


def model_metadata(name: str, versions: list[str], signature: Signature | None) -> JsonObject:
    """Return a model's metadata; inputs and outputs are empty if it has no signature."""
    return {
        "name": name,
        "versions": versions,
        "platform": "mlflow_pyfunc",
        "inputs": _tensors(signature.inputs if signature else None, "input"),
        "outputs": _tensors(signature.outputs if signature else None, "output"),
    }


def _tensors(specs: object, prefix: str) -> list[JsonObject]:
    """Return one tensor for each column or tensor of a schema in MLflow's JSON form."""
    entries = enumerate(specs if isinstance(specs, list) else [])
    return [_tensor(spec, f"{prefix}-{index}") for index, spec in entries if isinstance(spec, Mapping)]


def _tensor(spec: Mapping[str, object], default_name: str) -> JsonObject:
    name = spec.get("name")
    tensor = spec.get("tensor-spec")
    shape: object = [-1, 1]
    if isinstance(tensor, Mapping):
        datatype, content_type = _tensor_type(str(tensor.get("dtype")))
        shape = tensor.get("shape")
    else:
        kind = spec.get("type")
        datatype, content_type = (
            _COLUMN_DATATYPES.get(kind, _FALLBACK_DATATYPE) if isinstance(kind, str) else _FALLBACK_DATATYPE
        )
    return {
        "name": default_name if name is None else str(name),  # a number where a frame had no names
        "datatype": datatype,
        "shape": shape,
        "parameters": {"content_type": content_type},
    }


def _tensor_type(dtype: str) -> tuple[str, str]:
    if dtype in _TENSOR_DATATYPES:
        return _TENSOR_DATATYPES[dtype], "np"
    return "BYTES", "datetime" if dtype.startswith("datetime64") else "str"
