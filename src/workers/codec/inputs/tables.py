"""Tables of JSON values: from rows, records or columns to columns."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from workers.codec.input_errors import MAX_DETAILS, first_problems, invalid_input, shorten
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

_MAX_CELLS_PER_VALUE = 16  # cells of a table of records for each value that was sent
_MIN_CELL_LIMIT = 100_000  # cells that such a table may have in any case
_FEW_ROWS = 100
_MAX_REPEATED_CELLS = 1_000_000  # of values that stand in every row


@dataclass(frozen=True, slots=True)
class Table:
    """A table of columns with JSON values, each of `num_rows` length.

    `names` is None if the body has no names. A name is a string, or a number as pandas writes the columns
    of a frame without names.
    """

    names: tuple[str | float, ...] | None
    columns: tuple[Sequence[object], ...]
    num_rows: int
    index: Sequence[object] | None = None


def from_split(payload: object) -> Table:
    """Return the table of `{"columns"?, "data", "index"?}`. Raises InvalidInput."""
    if not isinstance(payload, Mapping):
        raise InvalidInput('dataframe_split must be an object with "data" and "columns".')
    if unknown := sorted(set(payload) - {"columns", "data", "index"}):
        listed = ", ".join(repr(shorten(name)) for name in unknown[:MAX_DETAILS])
        raise InvalidInput(f"dataframe_split has {listed}; it can have columns, data and index.")
    rows = _check_rows(payload.get("data"))
    names = _check_names(payload["columns"]) if payload.get("columns") is not None else None
    width = len(names) if names is not None else (len(rows[0]) if rows else 0)
    if not {width}.issuperset(map(len, rows)):
        uneven = first_problems(
            InputProblem(number, None, f"has {len(row)} values, expected {width}")
            for number, row in enumerate(rows)
            if len(row) != width
        )
        raise invalid_input(uneven, what="The rows of data are not all as long as columns")
    return Table(names, _to_columns(rows, width), len(rows), _check_index(payload.get("index"), len(rows)))


def _to_columns(rows: list[list[object]], width: int) -> tuple[Sequence[object], ...]:
    """Return the columns of rows that are all of this width."""
    if 0 < len(rows) <= _FEW_ROWS:
        return tuple(zip(*rows, strict=True))
    # zip() would make an iterator for each row, which takes more memory than a short row, and longer.
    return tuple(tuple(map(itemgetter(at), rows)) for at in range(width))


def from_records(
    payload: object, *, what: str = "dataframe_records", known: Container[str] | None = None
) -> Table:
    """Return the table of a list of objects; a name that an object lacks is null there. Raises InvalidInput.

    A column whose name is not in `known` has no values; `to_frame` rejects it by its name.
    """
    if not isinstance(payload, list) or not payload:
        raise InvalidInput(f"{what} must be a list of at least one object.")
    records = require_objects(payload, what=what)
    names = tuple(dict.fromkeys(name for record in records for name in record))
    max_cells = _MAX_CELLS_PER_VALUE * sum(map(len, records)) + _MIN_CELL_LIMIT
    if known is None and len(names) * len(records) > max_cells:
        raise InvalidInput(
            f"The {len(records)} objects of {what} have {len(names)} names together: most of the"
            " cells would be empty. Send records of the same names together."
        )
    values = tuple(
        [record.get(name) for record in records] if known is None or name in known else () for name in names
    )
    return Table(names, values, len(records))


def require_objects(payload: list[object], *, what: str) -> list[Mapping[str, object]]:
    """Return `payload` if it holds objects only. Raises InvalidInput."""
    if not {dict}.issuperset(map(type, payload)):
        problems = first_problems(
            InputProblem(row, None, "not an object")
            for row, record in enumerate(payload)
            if type(record) is not dict
        )
        raise invalid_input(problems, what=f"{what} must hold objects only")
    return payload  # type: ignore[return-value] # checked above


def from_mapping(payload: Mapping[str, object], *, what: str) -> Table:
    """Return the table of `{column: [values]}`. Raises InvalidInput.

    A value that is no list stands in every row, as in MLflow; if there are no lists, in the only one.
    """
    lengths = {len(value) for value in payload.values() if isinstance(value, list)} or {1}
    length = min(lengths)
    repeated = sum(not isinstance(value, list) for value in payload.values())
    too_many = length > 1 and repeated * length > _MAX_REPEATED_CELLS
    if len(lengths) > 1 or too_many or (repeated and not length):
        raise InvalidInput(f"The columns of {what} are not all of one length.")
    columns = {
        name: value if isinstance(value, list) else [value] * length for name, value in payload.items()
    }
    return Table(tuple(columns), tuple(columns.values()), length)


def from_rows(payload: list[object], *, what: str) -> Table:
    """Return the table of a list of rows, or of a list of the values of one column; it has no names."""
    if not payload or not isinstance(payload[0], list):
        return from_cells(payload)
    return from_split({"data": _check_rows(payload, what=what)})


def from_cells(cells: list[object]) -> Table:
    """Return a table without names whose one column is `cells`."""
    return Table(None, (cells,), len(cells))


def _check_rows(payload: object, *, what: str = "data") -> list[list[object]]:
    if not isinstance(payload, list):
        raise InvalidInput(f"{what} must be a list of rows, each a list of values.")
    if not {list}.issuperset(map(type, payload)):
        problems = first_problems(
            InputProblem(row, None, "not a list")
            for row, values in enumerate(payload)
            if type(values) is not list
        )
        raise invalid_input(problems, what=f"{what} must hold lists only")
    return payload


def names_to_text(names: Sequence[str | float], spec: InputSpec) -> tuple[str, ...]:
    """Return the names as text, a number as the signature has it. Raises InvalidInput for duplicates."""
    numbers = spec.number_names
    texts = tuple(name if isinstance(name, str) else numbers.get(name, str(name)) for name in names)
    if len(set(texts)) != len(texts):
        raise InvalidInput("columns names one column twice: once as a number, once as a string.")
    return texts


def _check_names(payload: object) -> tuple[str | float, ...]:
    if not isinstance(payload, list) or not _are_names(payload):
        raise InvalidInput("columns must be a list of strings.")
    if len(set(payload)) != len(payload):
        raise InvalidInput("columns names one column twice.")
    return tuple(payload)


def _are_names(payload: list[Any]) -> bool:
    types = set(map(type, payload))
    if types <= {str, int}:
        return True
    return types <= {str, int, float} and all(map(math.isfinite, (n for n in payload if type(n) is float)))


def _check_index(payload: object, num_rows: int) -> Sequence[object] | None:
    if payload is None:
        return None
    if not isinstance(payload, list) or len(payload) != num_rows:
        raise InvalidInput("index must be a list with one entry for each row of data.")
    if any(isinstance(entry, list | dict) for entry in payload):
        raise InvalidInput("index must hold plain values.")
    return payload
