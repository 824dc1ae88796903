"""Bodies of several requests answered by one call of the model, where that cannot change an answer."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from workers.codec.inputs.frames import frame
from workers.codec.json import answer as json_answer
from workers.codec.json import rows
from workers.errors import InputRefused
from workers.protocol.messages import Reply
from workers.runtime.batch_safety import is_by_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from workers.codec.json.rows import Rows
    from workers.codec.signature import Plan
    from workers.protocol.messages import Job

logger = logging.getLogger(__name__)

_MOST_ROWS = 4096
_PATIENCE_SECONDS = 1.0  # with calls that fail: who shares the batch waits for them

Numbered = list[tuple[int, "Rows"]]


class Merger:
    """Joins the rows of bodies that have the same columns, predicts once, and parts the answers again.

    A body that is not plain rows, or that any failure comes from, is left to be answered by itself:
    nobody's answer depends on who else asked. To find whose rows the model fails on, halves are
    tried, as long as that has not taken too long.
    """

    def __init__(self, plan: Plan, predict: Callable[[Any], Any]) -> None:
        self._plan = plan
        self._predict = predict
        self._lost_seconds = 0.0
        self.broken = False

    def replies(self, jobs: Sequence[Job]) -> dict[int, Reply]:
        """The replies by the jobs' numbers, without those that must be answered alone."""
        groups: dict[tuple[str, ...], Numbered] = {}
        for number, job in enumerate(jobs):
            if (found := rows.of(job, self._plan)) is not None:
                groups.setdefault(found.names, []).append((number, found))
        made: dict[int, Reply] = {}
        self._lost_seconds = 0.0
        for group in groups.values():
            for part in _parts(group):
                self._answer(part, made)
        return made

    def _answer(self, group: Numbered, made: dict[int, Reply]) -> None:
        if len(group) < 2 or self.broken or self._lost_seconds > _PATIENCE_SECONDS:
            return
        started = perf_counter()
        try:
            bodies = self._bodies([body for _, body in group])
        except InputRefused:
            fitting = [numbered for numbered in group if self._fits(numbered[1])]
            self._answer_parts([fitting] if len(fitting) < len(group) else _halves(group), made)
            return
        except BaseException:  # noqa: BLE001 - whatever it is, SystemExit too: one of them may be free of it
            self._lost_seconds += perf_counter() - started
            self._answer_parts(_halves(group), made)
            return
        seconds = perf_counter() - started
        for (number, _), body in zip(group, bodies, strict=False):
            made[number] = Reply(body, seconds)

    def _answer_parts(self, parts: Iterable[Numbered], made: dict[int, Reply]) -> None:
        for part in parts:
            self._answer(part, made)

    def _fits(self, body: Rows) -> bool:
        """Whether the body fits the signature by itself."""
        try:
            frame(rows.joined([body]), self._plan)
        except InputRefused:
            return False
        return True

    def _bodies(self, group: list[Rows]) -> list[bytes]:
        """Each one's answer as JSON; none where the model's answer is not one entry for each row."""
        table = rows.joined(group)
        predictions = self._predict(frame(table, self._plan))
        if is_by_row(predictions, table.rows):
            return json_answer.write_each(predictions, [len(body.rows) for body in group])
        self.broken = True
        kind = type(predictions).__name__
        logger.error("The model's answer (a %s) has not one entry for each row: none are merged now.", kind)
        return []


def _halves(group: Numbered) -> tuple[Numbered, Numbered]:
    half = len(group) // 2
    return group[:half], group[half:]


def _parts(group: Numbered) -> list[Numbered]:
    """The group in parts of not too many rows."""
    parts: list[Numbered] = [[]]
    size = 0
    for number, body in group:
        if parts[-1] and size + len(body.rows) > _MOST_ROWS:
            parts.append([])
            size = 0
        parts[-1].append((number, body))
        size += len(body.rows)
    return parts
