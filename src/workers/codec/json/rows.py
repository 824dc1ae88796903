"""Bodies that are nothing but a few rows of JSON values, and the rows of several bodies as one table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from workers.codec.inputs.tables import Table
from workers.codec.json import legacy
from workers.codec.json import text as json_text
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import JSON, Job

MAX_MERGED_BODY_BYTES = 16 * 1024
"""A larger body is predicted alone: it would delay the others of its batch for longer than batching saves."""

_SPLIT_KEYS = frozenset({"columns", "data", "index"})
_LIST_FORMS = frozenset({"instances", "inputs"})
_RECORD_FORMS = frozenset({"dataframe_records", *_LIST_FORMS})


class Rows(NamedTuple):
    """The rows of one body, each as long as `names`, in the body's own order of columns."""

    names: tuple[str, ...]
    rows: list[Sequence[Any]]


def can_merge(spec: InputSpec) -> bool:
    """Return whether rows of several bodies may share a frame: no cell may depend on other rows."""
    return spec.matches_mlflow and spec.has_column_names


def parse_rows(job: Job, spec: InputSpec) -> Rows | None:
    """Return the rows of a job's body, or None if the body must be predicted alone.

    It must be if it has anything but rows, or if its dtypes depend on the other rows of the batch: pandas
    infers another dtype for a column of nulls alone. `spec` must satisfy `can_merge`. `to_frame` makes all
    other checks.
    """
    body, content_type, accept, _, _ = job
    if content_type != JSON or len(body) > MAX_MERGED_BODY_BYTES or accept != JSON:
        return None
    try:
        document = legacy.to_mlflow_form(json_text.parse_json(body))
    except InvalidInput:
        return None
    if not isinstance(document, dict):
        return None
    if len(document) != 1:
        document = {key: value for key, value in document.items() if key not in legacy.IGNORED_KEYS}
    if len(document) != 1:
        return None
    ((form, payload),) = document.items()
    parsed = _split_rows(payload) if form == "dataframe_split" else _record_rows(form, payload)
    if parsed is None or (not spec.null_keeps_dtype and None in chain.from_iterable(parsed.rows)):
        return None
    return parsed


def concat_rows(bodies: Sequence[Rows]) -> Table:
    """Return one table of the rows of several bodies that have the same names."""
    rows = [row for body in bodies for row in body.rows]
    return Table(bodies[0].names, tuple(zip(*rows, strict=True)), len(rows))


def _split_rows(payload: object) -> Rows | None:
    if not isinstance(payload, dict) or not _SPLIT_KEYS.issuperset(payload):
        return None
    names = _checked_names.of(payload.get("columns"))
    rows: Any = payload.get("data")
    if names is None or not _is_list_of(rows, list) or {len(names)} != set(map(len, rows)):
        return None
    index = payload.get("index")
    if index is not None and not _is_default_index(index, len(rows)):
        return None  # the model may look at its own row labels
    return Rows(names, rows)


class _CheckedNames:
    """Checks the names of columns, which are mostly those of the body before."""

    def __init__(self) -> None:
        self._last: tuple[list[str], tuple[str, ...]] = ([], ())

    def of(self, names: Any) -> tuple[str, ...] | None:
        """Return the names if they are one or more, all different, and text or integers; else None."""
        if names and names == self._last[0]:
            return self._last[1]
        if _is_list_of(names, int):  # of a frame without names
            names = list(map(str, names))
        if not _is_list_of(names, str) or len(set(names)) != len(names):
            return None
        self._last = names, tuple(names)
        return self._last[1]


_checked_names = _CheckedNames()


def _record_rows(form: str, payload: Any) -> Rows | None:
    if form not in _RECORD_FORMS or not _is_list_of(payload, dict):
        return None
    names = tuple(payload[0])
    if any(tuple(record) != names for record in payload):
        return None
    return Rows(names, [tuple(record.values()) for record in payload])


def _is_default_index(index: Any, num_rows: int) -> bool:
    return index == list(range(num_rows)) and {*map(type, index)} <= {int}


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and {kind} == set(map(type, value))
