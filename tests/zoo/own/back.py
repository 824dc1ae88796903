"""The outputs of an Open Inference answer as the predictions that they are made of."""

from __future__ import annotations

import json
import re
import struct
from math import prod
from typing import Any

import numpy as np

from tests.zoo.asking import canonical
from tests.zoo.reference import plain

EXACT = 2**53
BITS = (8, 16, 32, 64)
DTYPES = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in BITS},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in BITS},
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BOOL": "?",
}


def outputs(answer: bytes, json_length: int) -> tuple[str, dict[str, Any]]:
    """What the answer says that its tensors are together, and each one's values, nested as its shape says."""
    document, rest = json.loads(answer[:json_length]), answer[json_length:]
    found: dict[str, Any] = {}
    for told in document["outputs"]:
        parameters = told.get("parameters", {})
        size = parameters.get("binary_data_size")
        cells = told["data"] if size is None else _binary(rest[:size], told["datatype"], parameters)
        rest = rest[size or 0 :]
        if parameters.get("content_type") == "pd_json":
            cells = [None if cell is None else json.loads(cell) for cell in cells]
        assert len(cells) == prod(told["shape"]), told["name"]
        found[told["name"]] = _nested(cells, told["shape"])
    assert not rest, "bytes of no output"
    return document["parameters"]["content_type"], found


def stand_for(content_type: str, tensors: dict[str, Any], wanted: Any) -> bool:
    """Whether the tensors are these predictions; the protocol has no list and no single value."""
    if content_type == "dict":
        return tensors.keys() == wanted.keys() and all(
            _is(tensor, wanted[name]) for name, tensor in tensors.items()
        )
    if content_type == "pd":
        return _are_columns(tensors, wanted)
    (tensor,) = tensors.values()
    return _is(tensor, wanted)


def _are_columns(tensors: dict[str, Any], wanted: list[Any]) -> bool:
    """Whether the tensors are the columns of these records, or of rows, or of a Series."""
    rows = [list(row.values()) if isinstance(row, dict) else row for row in wanted]
    named = [list(row) for row in wanted if isinstance(row, dict)]
    if len(tensors) > 1 and any(names != list(tensors) for names in named):
        return False
    columns = list(map(list, zip(*rows, strict=True))) or [[] for _ in tensors]
    return all(map(_is, tensors.values(), columns)) and len(columns) == len(tensors)


def _is(tensor: Any, wanted: Any) -> bool:
    """Whether the tensor is the value, with or without the dimensions that the protocol adds."""
    readings = [tensor]
    if all(isinstance(row, list) and len(row) == 1 for row in tensor):
        readings.append(_column(tensor))
    if len(tensor) == 1 and len(readings) == 2:
        readings.append(tensor[0][0])
    found = set(map(_text, readings))
    return bool(found & {_text(wanted), _text(_of_one_type(wanted))})


def _of_one_type(wanted: Any) -> Any:
    """Whole numbers beside others, or beside null, as the doubles that a tensor of them holds."""
    kinds = {type(cell) for cell in wanted} if isinstance(wanted, list) else set()
    if int not in kinds or len(kinds) < 2 or not kinds <= {int, float, type(None)}:
        return wanted
    exact = all(cell is None or abs(cell) <= EXACT for cell in wanted)
    return [cell if cell is None else float(cell) for cell in wanted] if exact else wanted


def _text(value: Any) -> str:
    """One text for equal values; a time is the same with a fraction of zeros and without."""
    return re.sub(r"(T\d\d:\d\d:\d\d)\.0+(?!\d)", r"\1", canonical(value))


def _column(tensor: Any) -> list[Any]:
    return [cell for (cell,) in tensor]


def _nested(cells: list[Any], shape: list[int]) -> Any:
    """Flat values as lists in lists."""
    if len(shape) < 2:
        return cells
    step = prod(shape[1:])
    return [_nested(cells[row * step : (row + 1) * step], shape[1:]) for row in range(shape[0])]


def _binary(raw: bytes, datatype: str, parameters: dict[str, Any]) -> list[Any]:
    if datatype != "BYTES":
        values: list[Any] = np.frombuffer(raw, dtype=DTYPES[datatype]).tolist()
        return [plain(value) for value in values]
    cells: list[Any] = []
    while raw:
        end = 4 + struct.unpack_from("<I", raw)[0]
        cells.append(raw[4:end].decode() if "content_type" in parameters else plain(raw[4:end]))
        raw = raw[end:]
    return cells
