"""Bodies that are nothing but a few rows of JSON values, and such rows of several bodies as one table."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.codec.inputs.tables import Table
from workers.codec.json import legacy
from workers.codec.json import text as json_text
from workers.errors import InvalidInput
from workers.protocol.messages import JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.codec.signature import InputSpec
    from workers.protocol.messages import Job

MAX_MERGED_BODY_BYTES = 16 * 1024
"""A larger body has its own call: it would hold up its company for longer than that saves."""

_SPLIT_KEYS = frozenset({"columns", "data", "index"})
_LIST_FORMS = frozenset({"instances", "inputs"})
_RECORD_FORMS = frozenset({"dataframe_records", *_LIST_FORMS})


class Rows(NamedTuple):
    """The rows of one body, each as long as `names`, which is in the body's own order."""

    names: tuple[str, ...]
    rows: list[Sequence[Any]]


def can_merge(spec: InputSpec) -> bool:
    """Whether rows of several bodies may share a frame at all: each cell becomes what it would alone."""
    return spec.matches_mlflow and spec.has_column_names


def parse_rows(job: Job, spec: InputSpec) -> Rows | None:
    """The job's rows, None where its body must be read by itself; only for a `mergeable` plan.

    That is so wherever the body has anything but rows, and where its frame may differ from that of
    the same rows in company: pandas takes a column for what is in it where that is null only.
    Nothing is checked here that `frame` checks.
    """
    body, content_type, accept, _ = job
    if content_type != JSON or len(body) > MAX_MERGED_BODY_BYTES or accept != JSON:
        return None
    try:
        document = legacy.to_mlflow_form(json_text.parse_json(body))
    except InvalidInput:
        return None
    if not isinstance(document, dict) or len(document) != 1:
        return None
    ((form, payload),) = document.items()
    found = _split_rows(payload) if form == "dataframe_split" else _record_rows(form, payload)
    if found is None or (not spec.null_keeps_dtype and None in chain.from_iterable(found.rows)):
        return None
    return found


def concat_rows(bodies: Sequence[Rows]) -> Table:
    """One table of the rows of several bodies that have the same names."""
    rows = [row for body in bodies for row in body.rows]
    return Table(bodies[0].names, tuple(zip(*rows, strict=True)), len(rows))


def _split_rows(payload: object) -> Rows | None:
    if not isinstance(payload, dict) or not _SPLIT_KEYS.issuperset(payload):
        return None
    names: Any = payload.get("columns")
    rows: Any = payload.get("data")
    if not _is_list_of(names, str) or not _is_list_of(rows, list):
        return None
    if not _is_default_index(payload.get("index"), len(rows)):
        return None  # labels of its own, which a model may look at
    width = len(names)
    if any(len(row) != width for row in rows) or len(set(names)) != width:
        return None
    return Rows(tuple(names), rows)


def _record_rows(form: str, payload: Any) -> Rows | None:
    if form not in _RECORD_FORMS or not _is_list_of(payload, dict):
        return None
    names = tuple(payload[0])
    if any(tuple(record) != names for record in payload):
        return None
    return Rows(names, [tuple(record.values()) for record in payload])


def _is_default_index(index: Any, rows: int) -> bool:
    return index is None or (index == list(range(rows)) and {*map(type, index)} <= {int})


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and {kind} == set(map(type, value))
