"""The rows of an input example, as texts for the cells of a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from gateway.console import json_text

MAX_ROWS: Final = 20
MAX_CHARS: Final = 100_000  # of all cells together
_TABLES: Final = ("dataframe_split", "dataframe_records", "inputs", "instances")

Cell = str | None


def find_rows(
    example: object, names: Sequence[str | None], *, json_columns: Set[int] = frozenset()
) -> list[list[Cell]]:
    """Return the example's first rows, with one text for each of `names`; None is null.

    The texts of the columns at the positions `json_columns` are JSON. The example is a body of any form
    that the gateway accepts, or what stands in one. Rows that do not fit are left out.
    """
    payload = find_payload(example)
    rows = _rows(payload, names)
    texts: list[list[Cell]] = []
    room = MAX_CHARS
    for row in rows[:MAX_ROWS]:
        cells = [_cell(value, as_json=at in json_columns) for at, value in enumerate(row)]
        room -= sum(len(cell or "") for cell in cells)
        if room < 0:
            break
        texts.append(cells)
    return texts


def find_payload(example: object) -> object:
    """Return what a body holds under the name of its form; another value is returned as it is."""
    if isinstance(example, Mapping):
        for form in _TABLES:
            if form in example:
                return example[form]
    return example


def _rows(payload: object, names: Sequence[str | None]) -> list[list[object]]:
    if isinstance(payload, Mapping):
        if isinstance(payload.get("data"), list):
            return _split_rows(payload, names)
        return _column_rows(payload, names)
    return _list_rows(payload[:MAX_ROWS], names) if isinstance(payload, list) else []


def _list_rows(head: list[Any], names: Sequence[str | None]) -> list[list[object]]:
    """Return the rows of a list of records, of rows or of the values of one column."""
    if names == [None]:
        return [[value[0] if _is_single(value) else value] for value in head]
    if all(isinstance(row, Mapping) for row in head):
        return [[row.get(name) for name in names] for row in head]
    if all(isinstance(row, list) and len(row) == len(names) for row in head):
        return head
    return [[value] for value in head] if len(names) == 1 else []


def _split_rows(payload: Mapping[str, object], names: Sequence[str | None]) -> list[list[object]]:
    data, columns = payload["data"], payload.get("columns")
    head = data[:MAX_ROWS] if isinstance(data, list) else []
    given = list(map(str, columns)) if isinstance(columns, list) else [str(name) for name in names]
    if None in names:
        order: list[int | None] = list(range(len(names)))
    elif set(given).issubset(map(str, names)):
        order = [given.index(str(name)) if name in given else None for name in names]
    else:
        return []
    if not all(isinstance(row, list) and len(row) == len(given) for row in head):
        return []
    return [[None if at is None or at >= len(row) else row[at] for at in order] for row in head]


def _column_rows(payload: Mapping[str, object], names: Sequence[str | None]) -> list[list[object]]:
    """Return the rows of `{name: [values]}` or of `{name: value}`."""
    columns = [payload.get(name) if name is not None else None for name in names]
    if not any(name in payload for name in names):
        return []
    if all(isinstance(column, list) for column in columns if column is not None):
        length = min(MAX_ROWS, max(len(column) for column in columns if isinstance(column, list)))
        return [
            [column[row] if isinstance(column, list) and row < len(column) else None for column in columns]
            for row in range(length)
        ]
    return [columns]


def _is_single(value: object) -> bool:
    return isinstance(value, list) and len(value) == 1


def _cell(value: object, *, as_json: bool) -> Cell:
    """Return the text that a person would write for a JSON value."""
    if value is None:
        return None
    return str(value) if isinstance(value, str) and not as_json else json_text.dump(value)
