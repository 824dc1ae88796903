"""JSON tables: rows or records in, a DataFrame that fits the signature out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from workers.codec.columns import ColumnRefused, convert
from workers.errors import InputRefused
from workers.messages import Cell

if TYPE_CHECKING:
    from workers.codec.plan import Column, Plan

DETAILS = 5  # as many offending cells are named


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of JSON values, all of `rows` length; `names` is None where the body names none."""

    names: tuple[str, ...] | None
    values: tuple[Sequence[object], ...]
    rows: int
    index: Sequence[object] | None = None


def from_split(payload: object) -> Table:
    """A table of `{"columns"?, "data", "index"?}`. Raises InputRefused."""
    if not isinstance(payload, Mapping):
        raise InputRefused('dataframe_split must be an object with "data" and "columns".')
    if unknown := sorted(set(payload) - {"columns", "data", "index"}):
        raise InputRefused(f"dataframe_split has {_quoted(unknown)}; it can have columns, data and index.")
    rows = _rows(payload.get("data"))
    names = _names(payload["columns"]) if payload.get("columns") is not None else None
    width = len(names) if names is not None else (len(rows[0]) if rows else 0)
    for number, row in enumerate(rows):
        if len(row) != width:
            cell = Cell(number, None, f"has {len(row)} values, where {width} are wanted")
            raise InputRefused("The rows of data are not all as long as columns.", (cell,))
    values = tuple(zip(*rows, strict=True)) if rows else tuple(() for _ in range(width))
    return Table(names, values, len(rows), _index(payload.get("index"), len(rows)))


def from_records(payload: object, *, what: str = "dataframe_records") -> Table:
    """A table of a list of objects; a name that one of them lacks is null there. Raises InputRefused."""
    if not isinstance(payload, list) or not payload:
        raise InputRefused(f"{what} must be a list of at least one object.")
    records = only_objects(payload, what=what)
    names = tuple(dict.fromkeys(name for record in records for name in record))
    values = tuple([record.get(name) for record in records] for name in names)
    return Table(names, values, len(records))


def only_objects(payload: list[object], *, what: str) -> list[Mapping[str, object]]:
    """`payload` where it holds objects only. Raises InputRefused."""
    for number, record in enumerate(payload):
        if not isinstance(record, dict):
            raise InputRefused(f"{what} must hold objects only.", (Cell(number, None, "not an object"),))
    return payload  # type: ignore[return-value] # just looked


def from_mapping(payload: Mapping[str, object], *, what: str) -> Table:
    """A table of `{column: [values]}`, or of one row where no value is a list. Raises InputRefused."""
    columns = {name: value if isinstance(value, list) else [value] for name, value in payload.items()}
    lengths = {len(value) for value in columns.values()}
    if len(lengths) != 1:
        raise InputRefused(f"The columns of {what} are not all of one length.")
    return Table(tuple(columns), tuple(columns.values()), lengths.pop())


def from_rows(payload: object, *, what: str) -> Table:
    """A table without names of a list of lists, or of a list of values for one column."""
    if isinstance(payload, list) and payload and not isinstance(payload[0], list):
        return Table(None, (payload,), len(payload))
    rows = _rows(payload, what=what)
    return from_split({"data": rows})


def frame(table: Table, plan: Plan) -> pd.DataFrame:
    """The table as the model's input: the signature's columns, in its order, of its types.

    Raises InputRefused naming up to the first five cells that do not fit and how many more there
    are. Without column signature the values are taken as pandas takes them.
    """
    index = None if table.index is None else pd.Index(list(table.index))
    if plan.columns is None:
        data = dict(enumerate(table.values))
        untyped = pd.DataFrame({position: pd.Series(list(column)) for position, column in data.items()})
        if table.names is not None:
            untyped.columns = pd.Index(table.names)
        return untyped if index is None else untyped.set_axis(index)
    chosen = _named(table, plan.columns) if plan.named else _by_position(table, plan.columns)
    converted = _converted(chosen)
    return pd.DataFrame(converted, index=pd.RangeIndex(table.rows)).set_axis(
        pd.RangeIndex(table.rows) if index is None else index
    )


def _named(table: Table, columns: Sequence[Column]) -> list[tuple[Column, Sequence[object]]]:
    names = table.names
    if names is None and len(columns) == 1 and len(table.values) == 1:
        names = (str(columns[0].name),)
    if names is None:
        raise InputRefused("The model's signature names its columns, so the body must name them too.")
    known = {column.name for column in columns}
    problems = [Cell(None, name, "not a column of the signature") for name in names if name not in known]
    problems += [
        Cell(None, column.name, "missing")
        for column in columns
        if column.required and column.name not in names
    ]
    if problems:
        raise _refusal(problems)
    values = dict(zip(names, table.values, strict=True))
    return [(column, values[str(column.name)]) for column in columns if _given(column, values)]


def _given(column: Column, values: Mapping[str, Sequence[object]]) -> bool:
    """Whether the body gives the column; an optional one that is null throughout is left out."""
    if column.name not in values:
        return False
    return column.required or any(value is not None for value in values[str(column.name)])


def _by_position(table: Table, columns: Sequence[Column]) -> list[tuple[Column, Sequence[object]]]:
    if len(table.values) != len(columns):
        raise InputRefused(f"The model takes {len(columns)} columns; the body has {len(table.values)}.")
    return list(zip(columns, table.values, strict=True))


def _converted(chosen: list[tuple[Column, Sequence[object]]]) -> dict[object, object]:
    problems: list[Cell] = []
    converted: dict[object, object] = {}
    for position, (column, values) in enumerate(chosen):
        name = position if column.name is None else column.name
        try:
            converted[name] = convert(values, column)
        except ColumnRefused as refused:
            problems += [Cell(row, str(name), reason) for row, reason in refused.bad]
    if problems:
        raise _refusal(problems)
    return converted


def _refusal(problems: list[Cell]) -> InputRefused:
    problems.sort(key=lambda cell: -1 if cell.row is None else cell.row)
    first = problems[0]
    where = f"column {first.column!r}" + ("" if first.row is None else f", row {first.row}")
    more = len(problems) - DETAILS
    tail = f" There are {more} more than the details name." if more > 0 else ""
    return InputRefused(
        f"The input does not fit the model's signature: {where}: {first.reason}.{tail}",
        tuple(problems[:DETAILS]),
    )


def _rows(payload: object, *, what: str = "data") -> list[list[object]]:
    if not isinstance(payload, list):
        raise InputRefused(f"{what} must be a list of rows, each a list of values.")
    for number, row in enumerate(payload):
        if not isinstance(row, list):
            raise InputRefused(f"{what} must hold lists only.", (Cell(number, None, "not a list"),))
    return payload


def _names(payload: object) -> tuple[str, ...]:
    if not isinstance(payload, list) or not all(isinstance(name, str) for name in payload):
        raise InputRefused("columns must be a list of strings.")
    if len(set(payload)) != len(payload):
        raise InputRefused("columns names one column twice.")
    return tuple(payload)


def _index(payload: object, rows: int) -> Sequence[object] | None:
    if payload is None:
        return None
    if not isinstance(payload, list) or len(payload) != rows:
        raise InputRefused("index must be a list with one entry for each row of data.")
    if any(isinstance(entry, list | dict) for entry in payload):
        raise InputRefused("index must hold plain values.")
    return payload


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:100]) for name in names[:DETAILS])
