"""Samples as Open Inference requests, in JSON and in binary."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.zoo.own.arrow import octets
from tests.zoo.own.said import CannotSay
from tests.zoo.samples import Plain, Table, Tensor, Tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.zoo.own.said import Said

STRUCTS = {"BOOL": "?", "INT64": "q", "UINT64": "Q", "FP64": "d"}
INTEGERS = {"INT64": range(-(2**63), 2**63), "UINT64": range(2**64)}
EXACT = 2**53


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor; `cells` are flat, `raw` those of BYTES in binary."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    cells: list[Any]
    raw: list[bytes]
    content_type: str = ""

    def head(self) -> dict[str, Any]:
        """What stands in JSON in both forms."""
        own = {"content_type": self.content_type} if self.content_type else {}
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape), "parameters": own}

    def binary(self) -> bytes:
        """The bytes after the JSON. Raises CannotSay."""
        if self.datatype != "BYTES":
            values = [float("nan") if cell is None else cell for cell in self.cells]
            return struct.pack(f"<{len(values)}{STRUCTS[self.datatype]}", *values)
        if None in self.cells:
            raise CannotSay("BYTES have no null in binary")
        return b"".join(struct.pack("<I", len(raw)) + raw for raw in self.raw)


def in_json(said: Said) -> bytes:
    """The request. Raises CannotSay."""
    inputs = [{**tensor.head(), "data": tensor.cells} for tensor in _inputs(said)]
    return json.dumps({"inputs": inputs, "parameters": _parameters(said)}).encode()


def in_binary(said: Said) -> tuple[bytes, bytes]:
    """The JSON and the bytes of all tensors, which asks for an answer in binary. Raises CannotSay."""
    inputs, parts = [], []
    for tensor in _inputs(said):
        head, raw = tensor.head(), tensor.binary()
        inputs.append({**head, "parameters": {**head["parameters"], "binary_data_size": len(raw)}})
        parts.append(raw)
    parameters = {**_parameters(said), "binary_data_output": True}
    return json.dumps({"inputs": inputs, "parameters": parameters}).encode(), b"".join(parts)


def _parameters(said: Said) -> dict[str, Any]:
    """The params, and what the tensors are together where it is more than one array."""
    kinds = {Table: {"content_type": "pd"}, Tensors: {"content_type": "dict"}}
    return {**kinds.get(type(said.sample), {}), **said.params}


def _inputs(said: Said) -> list[Input]:
    sample = said.sample
    if isinstance(sample, Table):
        return [_column(str(name), list(cells), sample) for name, cells in sample.columns.items()]
    if isinstance(sample, Tensors):
        return [_array(name, values) for name, values in sample.values.items()]
    if isinstance(sample, Tensor):
        return [_array("input-0", sample.values)]
    if not isinstance(sample, Plain) or not isinstance(sample.value, list):
        raise CannotSay("a tensor is a list, and the probe is none")
    return [_tensor("input-0", (len(sample.value),), sample.value)]


def _column(name: str, cells: list[Any], table: Table) -> Input:
    if name in table.octets:
        raw = octets(cells)
        return Input(name, "BYTES", (len(cells),), cells, raw)
    if name in table.times and all(isinstance(cell, str | None) for cell in cells):
        return Input(
            name, "BYTES", (len(cells),), cells, [(cell or "").encode() for cell in cells], "datetime"
        )
    return _tensor(name, (len(cells),), cells)


def _array(name: str, values: Any) -> Input:
    shape, cells = _flattened(values)
    return _tensor(name, shape, cells)


def _flattened(values: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and flat values of nested lists. Raises CannotSay."""
    if not isinstance(values, list):
        return (), [values]
    parts = [_flattened(value) for value in values]
    if len({shape for shape, _ in parts}) > 1:
        raise CannotSay("a tensor's rows are all of one length")
    inner = parts[0][0] if parts else ()
    return (len(parts), *inner), [cell for _, cells in parts for cell in cells]


def _tensor(name: str, shape: tuple[int, ...], cells: Sequence[Any]) -> Input:
    """The cells in the narrowest datatype that says them exactly; else in BYTES, each as JSON."""
    known = [cell for cell in cells if cell is not None]
    if datatype := _datatype(known, nulls=len(known) < len(cells)):
        return Input(name, datatype, shape, list(cells), [])
    if known and all(isinstance(cell, str) for cell in known):
        return Input(name, "BYTES", shape, list(cells), [(cell or "").encode() for cell in cells], "str")
    texts = [None if cell is None else json.dumps(cell) for cell in cells]
    return Input(name, "BYTES", shape, texts, [(text or "").encode() for text in texts], "pd_json")


def _datatype(known: list[Any], *, nulls: bool) -> str:
    kinds = set(map(type, known))
    if kinds == {bool} and not nulls:
        return "BOOL"
    if kinds == {int} and not nulls:
        fitting = (name for name, range_ in INTEGERS.items() if all(cell in range_ for cell in known))
        return next(fitting, "")
    numbers = kinds <= {int, float} and all(type(cell) is float or abs(cell) <= EXACT for cell in known)
    return "FP64" if numbers and (float in kinds or not known) else ""
