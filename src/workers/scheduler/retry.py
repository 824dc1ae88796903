"""What dead workers had been given: who is to blame for their deaths, and who is run again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from workers.process.channel import DiedBefore
from workers.scheduler.results import reject

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.errors import WorkerCrashed
    from workers.scheduler.queue import PendingRequest
    from workers.scheduler.worker_slot import WorkerSlot

MAX_CRASHES: Final = 2
"""A job is not run again once as many workers have died while they ran it alone.

Of a batch nobody knows which job its worker died of. All of it goes alone then, and is what the workers run
for a while: one that is killed from without just then would else make a culprit of an innocent job.
"""

_SPARED: Final = 5  # workers that died before they had read the job, after which it is to blame all the same
_RETRY_DELAY_SECONDS: Final = 0.05  # for the news of other deaths to arrive


class RetryQueue:
    """Batches that are to be run again, in a moment: `due` is called with each one then.

    Another worker may have died too, and must not be given what this one had.
    """

    def __init__(self, *, on_due: Callable[[list[PendingRequest]], None]) -> None:
        self._on_due = on_due
        self._loop = asyncio.get_running_loop()
        self._batches: list[list[PendingRequest]] = []

    @property
    def waiting(self) -> int:
        """How many jobs there are."""
        return sum(map(len, self._batches))

    def add(self, tickets: list[PendingRequest]) -> None:
        """Have a batch run again."""
        self._batches.append(tickets)
        self._loop.call_later(_RETRY_DELAY_SECONDS, self._on_delay_over, tickets)

    def reject_all(self, error: Exception) -> None:
        """Answer everything there is with `error`."""
        for tickets in self._batches:
            reject(tickets, error)

    def _on_delay_over(self, tickets: list[PendingRequest]) -> None:
        self._batches.remove(tickets)
        self._on_due(tickets)


def record_crash(
    post: WorkerSlot, tickets: list[PendingRequest], death: WorkerCrashed
) -> list[PendingRequest]:
    """Take note of a death in the tickets of the batch that the worker ran: its others are innocent.

    Gives those of the batch that are not run again.
    """
    if not post.crash_recorded:
        before, alone = isinstance(death, DiedBefore), len(tickets) == 1
        for ticket in tickets:
            ticket.spared += before
            if not before or ticket.spared > _SPARED:
                ticket.crash_suspect = True
                ticket.crashes += alone or before
    post.crash_recorded = True
    return [ticket for ticket in tickets if ticket.crashes >= MAX_CRASHES]
