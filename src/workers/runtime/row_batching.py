"""Predict the rows of several requests in one call of the model, if that cannot change a prediction."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from workers.codec.inputs.frames import to_frame
from workers.codec.json import answer as json_answer
from workers.codec.json import rows
from workers.errors import InvalidInput
from workers.protocol.messages import JSON, Reply
from workers.runtime.batch_safety import has_entry_per_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from workers.codec.inputs.tables import Table
    from workers.codec.json.rows import Rows
    from workers.codec.signature import InputSpec
    from workers.protocol.messages import Job

logger = logging.getLogger(__name__)

_MAX_ROWS = 4096
_RETRY_BUDGET_SECONDS = 1.0  # for calls that fail, since the batch's other requests wait for them

NumberedRows = list[tuple[int, "Rows"]]


class RowBatcher:
    """A batcher that merges the rows of bodies with the same columns, predicts once, and splits the result.

    A body that is not plain rows, or that makes the model fail, is left to be predicted alone: no reply
    depends on the other requests. The rows on which the model fails are found by halving the batch, as
    long as that has not taken too long.
    """

    def __init__(self, spec: InputSpec, predict: Callable[[Table], Any]) -> None:
        self._spec = spec
        self._predict = predict
        self._failed_seconds = 0.0
        self.disabled = False

    def predict(self, jobs: Sequence[Job]) -> dict[int, Reply]:
        """Return the replies by the jobs' numbers, without those that must be predicted alone."""
        groups: dict[tuple[str, ...], NumberedRows] = {}
        for number, job in enumerate(jobs):
            if (parsed := rows.parse_rows(job, self._spec)) is not None:
                groups.setdefault(parsed.names, []).append((number, parsed))
        replies: dict[int, Reply] = {}
        self._failed_seconds = 0.0
        for group in groups.values():
            self._predict_groups(_split_by_rows(group), replies)
        return replies

    def _predict_group(self, group: NumberedRows, replies: dict[int, Reply]) -> None:
        if len(group) < 2 or self.disabled or self._failed_seconds > _RETRY_BUDGET_SECONDS:
            return
        started = perf_counter()
        try:
            bodies = self._predict_rows([body for _, body in group])
        except InvalidInput:
            fitting = [numbered for numbered in group if self._matches_signature(numbered[1])]
            self._predict_groups([fitting] if len(fitting) < len(group) else _split_in_half(group), replies)
            return
        except BaseException:  # noqa: BLE001 - SystemExit too: it may come from one of the bodies alone
            self._failed_seconds += perf_counter() - started
            self._predict_groups(_split_in_half(group), replies)
            return
        seconds = perf_counter() - started
        total = sum(len(body.rows) for _, body in group)
        for (number, _), body in zip(group, bodies, strict=False):
            replies[number] = Reply(body, seconds, True, JSON, None, None, total)  # in order: it is faster
            total = 0  # one reply stands for the call

    def _predict_groups(self, groups: Iterable[NumberedRows], replies: dict[int, Reply]) -> None:
        for group in groups:
            self._predict_group(group, replies)

    def _matches_signature(self, body: Rows) -> bool:
        """Return whether the body alone fits the signature."""
        try:
            to_frame(rows.concat_rows([body]), self._spec)
        except InvalidInput:
            return False
        return True

    def _predict_rows(self, group: list[Rows]) -> list[bytes]:
        """Return each body's predictions as JSON; nothing if the model does not return one entry per row."""
        table = rows.concat_rows(group)
        predictions = self._predict(table)
        if has_entry_per_row(predictions, table.num_rows):
            return json_answer.split_to_json(predictions, [len(body.rows) for body in group])
        self.disabled = True
        kind = type(predictions).__name__
        logger.error(
            "The model did not return one entry per row but a %s; row batching is now disabled",
            kind,
            extra={"event": "row_batching_disabled", "prediction_type": kind},
        )
        return []


def _split_in_half(group: NumberedRows) -> tuple[NumberedRows, NumberedRows]:
    half = len(group) // 2
    return group[:half], group[half:]


def _split_by_rows(group: NumberedRows) -> list[NumberedRows]:
    """Split the group into parts of at most `_MAX_ROWS` rows; a larger body is a part of its own."""
    if sum(len(body.rows) for _, body in group) <= _MAX_ROWS:
        return [group]
    parts: list[NumberedRows] = [[]]
    size = 0
    for number, body in group:
        if parts[-1] and size + len(body.rows) > _MAX_ROWS:
            parts.append([])
            size = 0
        parts[-1].append((number, body))
        size += len(body.rows)
    return parts
