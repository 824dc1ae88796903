"""Bodies of several requests answered by one call of the model, where that cannot change an answer."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from workers.codec.inputs.frames import to_frame
from workers.codec.json import answer as json_answer
from workers.codec.json import rows
from workers.errors import InvalidInput
from workers.protocol.messages import Reply
from workers.runtime.batch_safety import has_entry_per_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from workers.codec.json.rows import Rows
    from workers.codec.signature import InputSpec
    from workers.protocol.messages import Job

logger = logging.getLogger(__name__)

_MAX_ROWS = 4096
_RETRY_BUDGET_SECONDS = 1.0  # with calls that fail: who shares the batch waits for them

NumberedRows = list[tuple[int, "Rows"]]


class RowBatcher:
    """Joins the rows of bodies that have the same columns, predicts once, and parts the answers again.

    A body that is not plain rows, or that any failure comes from, is left to be answered by itself:
    nobody's answer depends on who else asked. To find whose rows the model fails on, halves are
    tried, as long as that has not taken too long.
    """

    def __init__(self, spec: InputSpec, predict: Callable[[Any], Any]) -> None:
        self._spec = spec
        self._predict = predict
        self._failed_seconds = 0.0
        self.disabled = False

    def predict(self, jobs: Sequence[Job]) -> dict[int, Reply]:
        """The replies by the jobs' numbers, without those that must be answered alone."""
        groups: dict[tuple[str, ...], NumberedRows] = {}
        for number, job in enumerate(jobs):
            if (found := rows.parse_rows(job, self._spec)) is not None:
                groups.setdefault(found.names, []).append((number, found))
        made: dict[int, Reply] = {}
        self._failed_seconds = 0.0
        for group in groups.values():
            for part in _split_by_rows(group):
                self._predict_group(part, made)
        return made

    def _predict_group(self, group: NumberedRows, made: dict[int, Reply]) -> None:
        if len(group) < 2 or self.disabled or self._failed_seconds > _RETRY_BUDGET_SECONDS:
            return
        started = perf_counter()
        try:
            bodies = self._predict_rows([body for _, body in group])
        except InvalidInput:
            fitting = [numbered for numbered in group if self._matches_signature(numbered[1])]
            self._predict_groups([fitting] if len(fitting) < len(group) else _split_in_half(group), made)
            return
        except BaseException:  # noqa: BLE001 - whatever it is, SystemExit too: one of them may be free of it
            self._failed_seconds += perf_counter() - started
            self._predict_groups(_split_in_half(group), made)
            return
        seconds = perf_counter() - started
        for (number, _), body in zip(group, bodies, strict=False):
            made[number] = Reply(body, seconds)

    def _predict_groups(self, parts: Iterable[NumberedRows], made: dict[int, Reply]) -> None:
        for part in parts:
            self._predict_group(part, made)

    def _matches_signature(self, body: Rows) -> bool:
        """Whether the body fits the signature by itself."""
        try:
            to_frame(rows.concat_rows([body]), self._spec)
        except InvalidInput:
            return False
        return True

    def _predict_rows(self, group: list[Rows]) -> list[bytes]:
        """Each one's answer as JSON; none where the model's answer is not one entry for each row."""
        table = rows.concat_rows(group)
        predictions = self._predict(to_frame(table, self._spec))
        if has_entry_per_row(predictions, table.num_rows):
            return json_answer.split_to_json(predictions, [len(body.rows) for body in group])
        self.disabled = True
        kind = type(predictions).__name__
        logger.error("The model's answer (a %s) has not one entry for each row: none are merged now.", kind)
        return []


def _split_in_half(group: NumberedRows) -> tuple[NumberedRows, NumberedRows]:
    half = len(group) // 2
    return group[:half], group[half:]


def _split_by_rows(group: NumberedRows) -> list[NumberedRows]:
    """The group in parts of not too many rows."""
    parts: list[NumberedRows] = [[]]
    size = 0
    for number, body in group:
        if parts[-1] and size + len(body.rows) > _MAX_ROWS:
            parts.append([])
            size = 0
        parts[-1].append((number, body))
        size += len(body.rows)
    return parts
