"""Samples as streams of Arrow."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from tests.zoo.forms import times
from tests.zoo.own.said import CannotSay
from tests.zoo.samples import Plain, Table, Tensors

if TYPE_CHECKING:
    from tests.zoo.own.said import Said

MEDIA_TYPE = "application/vnd.apache.arrow.stream"


def write(said: Said) -> bytes:
    """The table as a stream of one batch. Raises CannotSay."""
    import pyarrow as pa  # noqa: PLC0415 - not for those who only collect the tests
    from pyarrow import ipc  # noqa: PLC0415 - as above

    if said.params:
        raise CannotSay("Arrow has no place for params")
    columns: dict[str, Any] = _columns(said)
    for name in [name for name, cells in columns.items() if _is_map(cells)]:
        columns[name] = pa.array(
            [list(cell.items()) for cell in columns[name]], pa.map_(pa.string(), pa.float64())
        )
    if not all(map(_has_one_struct, columns.values())):
        raise CannotSay("an Arrow struct has every field in every row")
    try:
        table = pa.table(columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise CannotSay("pyarrow finds no one type for the cells") from error
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _columns(said: Said) -> dict[str, list[Any]]:
    sample = said.sample
    if isinstance(sample, Plain):
        raise CannotSay("Arrow is tables, which models of type hints do not take")
    if not isinstance(sample, Table | Tensors):
        raise CannotSay("an Arrow column has a name, and the model's one array has none")
    if isinstance(sample, Tensors):
        if len(set(map(len, sample.values.values()))) > 1:
            raise CannotSay("Arrow columns are all of one length")
        return {name: list(cells) for name, cells in sample.values.items()}
    columns = {str(name): list(cells) for name, cells in sample.columns.items()}
    columns |= {name: times(columns[name]) for name in sample.times}
    return columns | {name: octets(columns[name]) for name in sample.octets}


def _is_map(cells: list[Any]) -> bool:
    """Whether the cells are objects of numbers, and not all of the same keys."""
    if not all(isinstance(cell, dict) for cell in cells) or len({tuple(cell) for cell in cells}) < 2:
        return False
    return all(isinstance(value, float) for cell in cells for value in cell.values())


def _has_one_struct(cells: Any) -> bool:
    """Whether the objects in a list, or in its lists, have all the same keys."""
    if not isinstance(cells, list):
        return True
    flat = [cell for part in cells for cell in (part if isinstance(part, list) else [part])]
    return len({tuple(cell) for cell in flat if isinstance(cell, dict)}) < 2


def octets(cells: list[Any]) -> list[bytes]:
    """The bytes that the texts are base64 of. Raises CannotSay."""
    try:
        return [base64.b64decode(cell, validate=True) for cell in cells]
    except (binascii.Error, TypeError) as error:
        raise CannotSay("the cells stand for no bytes") from error
