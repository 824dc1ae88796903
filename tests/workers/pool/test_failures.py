"""Loads that failed: for how long they are remembered, and what of them."""

from __future__ import annotations

import gc
import weakref

from tests.workers.conftest import key
from workers.errors import ModelLoadError
from workers.pool.loading import LoadBackoff


class Worker:
    """Stands in a frame that an error comes through."""


def start(seen: list[weakref.ref[Worker]]) -> None:
    worker = Worker()
    seen.append(weakref.ref(worker))
    raise ModelLoadError("the reason", log="the trace") from EOFError()


async def test_nothing_is_held_but_what_it_says() -> None:
    """A worker's pipes were open for as long as its failure was remembered."""
    remembered, seen = LoadBackoff(), list[weakref.ref[Worker]]()
    gc.disable()
    try:
        try:
            start(seen)
        except ModelLoadError as error:
            remembered.record(key("a"), error)
        assert seen[0]() is None
    finally:
        gc.enable()
    told = remembered.active(key("a"))
    assert told is not None
    assert (str(told), told.log) == ("the reason", "the trace")


async def test_the_pause_grows() -> None:
    """Each further failure doubles it, up to five minutes, and a load that succeeds forgets all."""
    remembered, of = LoadBackoff(), key("a")
    pauses = []
    for _ in range(9):
        remembered.record(of, ModelLoadError("x"))
        pauses.append(remembered._failures[of].delay)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    remembered.clear(of)
    assert remembered.active(of) is None
