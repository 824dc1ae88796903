"""What dead workers had been given: who is to blame for their deaths, and who is run again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from workers.process.channel import DiedBefore
from workers.scheduler.results import fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.errors import WorkerDied
    from workers.scheduler.queue import Ticket
    from workers.scheduler.worker_slot import Post

DEATHS: Final = 2
"""A job is not run again once as many workers have died while they ran it alone.

Of a batch nobody knows which job its worker died of. All of it goes alone then, and is what the workers run
for a while: one that is killed from without just then would else make a culprit of an innocent job.
"""

_SPARED: Final = 5  # workers that died before they had read the job, after which it is to blame all the same
_NEWS_SECONDS: Final = 0.05  # for the news of other deaths to arrive


class Retries:
    """Batches that are to be run again, in a moment: `due` is called with each one then.

    Another worker may have died too, and must not be given what this one had.
    """

    def __init__(self, *, due: Callable[[list[Ticket]], None]) -> None:
        self._due = due
        self._loop = asyncio.get_running_loop()
        self._batches: list[list[Ticket]] = []

    @property
    def waiting(self) -> int:
        """How many jobs there are."""
        return sum(map(len, self._batches))

    def add(self, tickets: list[Ticket]) -> None:
        """Have a batch run again."""
        self._batches.append(tickets)
        self._loop.call_later(_NEWS_SECONDS, self._over, tickets)

    def fail(self, error: Exception) -> None:
        """Answer everything there is with `error`."""
        for tickets in self._batches:
            fail(tickets, error)

    def _over(self, tickets: list[Ticket]) -> None:
        self._batches.remove(tickets)
        self._due(tickets)


def blame(post: Post, tickets: list[Ticket], death: WorkerDied) -> list[Ticket]:
    """Take note of a death in the tickets of the batch that the worker ran: its others are innocent.

    Gives those of the batch that are not run again.
    """
    if not post.blamed:
        before, alone = isinstance(death, DiedBefore), len(tickets) == 1
        for ticket in tickets:
            ticket.spared += before
            if not before or ticket.spared > _SPARED:
                ticket.suspect = True
                ticket.deaths += alone or before
    post.blamed = True
    return [ticket for ticket in tickets if ticket.deaths >= DEATHS]
