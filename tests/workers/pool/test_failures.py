"""Loads that failed: for how long they are remembered, and what of them."""

from __future__ import annotations

import gc
import weakref

from tests.workers.conftest import key
from workers.errors import LoadFailed
from workers.pool.loading import Failures


class Worker:
    """Stands in a frame that an error comes through."""


def start(seen: list[weakref.ref[Worker]]) -> None:
    worker = Worker()
    seen.append(weakref.ref(worker))
    raise LoadFailed("the reason", log="the trace") from EOFError()


async def test_nothing_is_held_but_what_it_says() -> None:
    """A worker's pipes were open for as long as its failure was remembered."""
    remembered, seen = Failures(), list[weakref.ref[Worker]]()
    gc.disable()
    try:
        try:
            start(seen)
        except LoadFailed as error:
            remembered.remember(key("a"), error)
        assert seen[0]() is None
    finally:
        gc.enable()
    told = remembered.recent(key("a"))
    assert told is not None
    assert (str(told), told.log) == ("the reason", "the trace")


async def test_the_pause_grows() -> None:
    """Each further failure doubles it, up to five minutes, and a load that succeeds forgets all."""
    remembered, of = Failures(), key("a")
    pauses = []
    for _ in range(9):
        remembered.remember(of, LoadFailed("x"))
        pauses.append(remembered._failed[of].pause)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    remembered.forget(of)
    assert remembered.recent(of) is None
