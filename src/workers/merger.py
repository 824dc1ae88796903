"""Bodies of several requests answered by one call of the model, where that cannot change an answer."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from workers.codec import answers, rows
from workers.codec.frames import frame
from workers.messages import Reply
from workers.proof import is_by_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.codec.plan import Plan
    from workers.codec.rows import Rows
    from workers.messages import Job

_logger = logging.getLogger("workers")

_MOST_ROWS = 4096

Numbered = list[tuple[int, "Rows"]]


class Merger:
    """Joins the rows of bodies that have the same columns, predicts once, and parts the answers again.

    A body that is not plain rows, or that any failure comes from, is left to be answered by itself:
    nobody's answer depends on who else asked. To find where a failure comes from, halves are tried.
    """

    def __init__(self, plan: Plan, predict: Callable[[Any], Any]) -> None:
        self._plan = plan
        self._predict = predict
        self.broken = False

    def replies(self, jobs: Sequence[Job]) -> dict[int, Reply]:
        """The replies by the jobs' numbers, without those that must be answered alone."""
        groups: dict[tuple[str, ...], Numbered] = {}
        for number, job in enumerate(jobs):
            if (found := rows.of(job, self._plan)) is not None:
                groups.setdefault(found.names, []).append((number, found))
        made: dict[int, Reply] = {}
        for group in groups.values():
            for part in _parts(group):
                self._answer(part, made)
        return made

    def _answer(self, group: Numbered, made: dict[int, Reply]) -> None:
        if len(group) < 2 or self.broken:
            return
        started = perf_counter()
        try:
            bodies = self._bodies([body for _, body in group])
        except BaseException:  # noqa: BLE001 - whatever it is, SystemExit too: one of them may be free of it
            half = len(group) // 2
            self._answer(group[:half], made)
            self._answer(group[half:], made)
            return
        if bodies is None:
            self.broken = True
            _logger.error(
                "The model gave another number of rows than it was given: none are merged any more."
            )
            return
        seconds = perf_counter() - started
        for (number, _), body in zip(group, bodies, strict=True):
            made[number] = Reply(body, seconds)

    def _bodies(self, group: list[Rows]) -> list[bytes] | None:
        """Each one's answer as JSON; None where the model's answer has not as many rows as they have."""
        table = rows.joined(group)
        predictions = self._predict(frame(table, self._plan))
        if not is_by_row(predictions, table.rows):
            return None
        return answers.write_each(predictions, [len(body.rows) for body in group])


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
