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

    from workers.codec.signature import Plan
    from workers.protocol.messages import Job

SMALL_BYTES = 16 * 1024
"""A larger body has its own call: it would hold up its company for longer than that saves."""

_SPLIT = frozenset({"columns", "data", "index"})
_LISTS = frozenset({"instances", "inputs"})
_RECORDS = frozenset({"dataframe_records", *_LISTS})


class Rows(NamedTuple):
    """The rows of one body, each as long as `names`, which is in the body's own order."""

    names: tuple[str, ...]
    rows: list[Sequence[Any]]


def mergeable(plan: Plan) -> bool:
    """Whether rows of several bodies may share a frame at all: each cell becomes what it would alone."""
    return plan.exact and plan.named


def of(job: Job, plan: Plan) -> Rows | None:
    """The job's rows, None where its body must be read by itself; only for a `mergeable` plan.

    That is so wherever the body has anything but rows, and where its frame may differ from that of
    the same rows in company: pandas takes a column for what is in it where that is null only.
    Nothing is checked here that `frame` checks.
    """
    body, content_type, accept, _ = job
    if content_type != JSON or len(body) > SMALL_BYTES or accept != JSON:
        return None
    try:
        document = legacy.as_mlflow(json_text.parse(body))
    except InvalidInput:
        return None
    if not isinstance(document, dict) or len(document) != 1:
        return None
    ((form, payload),) = document.items()
    found = _split(payload) if form == "dataframe_split" else _records(form, payload)
    if found is None or (not plan.keeps_types and None in chain.from_iterable(found.rows)):
        return None
    return found


def joined(bodies: Sequence[Rows]) -> Table:
    """One table of the rows of several bodies that have the same names."""
    rows = [row for body in bodies for row in body.rows]
    return Table(bodies[0].names, tuple(zip(*rows, strict=True)), len(rows))


def _split(payload: object) -> Rows | None:
    if not isinstance(payload, dict) or not _SPLIT.issuperset(payload):
        return None
    names: Any = payload.get("columns")
    rows: Any = payload.get("data")
    if not _is_list_of(names, str) or not _is_list_of(rows, list):
        return None
    if not _is_default(payload.get("index"), len(rows)):
        return None  # labels of its own, which a model may look at
    width = len(names)
    if any(len(row) != width for row in rows) or len(set(names)) != width:
        return None
    return Rows(tuple(names), rows)


def _records(form: str, payload: Any) -> Rows | None:
    if form not in _RECORDS or not _is_list_of(payload, dict):
        return None
    names = tuple(payload[0])
    if any(tuple(record) != names for record in payload):
        return None
    return Rows(names, [tuple(record.values()) for record in payload])


def _is_default(index: Any, rows: int) -> bool:
    return index is None or (index == list(range(rows)) and {*map(type, index)} <= {int})


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and {kind} == set(map(type, value))
