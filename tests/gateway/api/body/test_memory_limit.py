"""Proves that what is held of bodies is counted to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.api.body.memory_limit import BODIES_REJECTED, BodyMemoryExceeded, BodyMemoryLimit
from workers.metrics import Counters

if TYPE_CHECKING:
    from aiohttp import web


@pytest.fixture
def connections() -> list[web.RequestHandler]:
    """Two that stand for connections: only which is which matters."""
    return [object(), object()]  # type: ignore[list-item] # nothing of them is used


def test_what_is_held(connections: list[web.RequestHandler]) -> None:
    """The size of each body so far, until its answer is made; one that shrinks gives back the rest."""
    first, second = connections
    intake = BodyMemoryLimit(100, counters=Counters())
    intake.reserve(first, 30)
    intake.reserve(first, 60)
    intake.reserve(second, 40)
    assert intake.reserved_bytes == 100
    intake.reserve(first, 10)
    assert intake.reserved_bytes == 50
    intake.release(first)
    intake.release(first)
    assert intake.reserved_bytes == 40
    intake.release(second)
    assert intake.reserved_bytes == 0


def test_what_does_not_fit(connections: list[web.RequestHandler]) -> None:
    """It is refused and counted; what was held of that body is given back with its answer."""
    first, second = connections
    tally = Counters()
    intake = BodyMemoryLimit(100, counters=tally)
    intake.reserve(first, 60)
    intake.reserve(second, 40)
    intake.check(0)
    with pytest.raises(BodyMemoryExceeded):
        intake.reserve(second, 41)
    with pytest.raises(BodyMemoryExceeded):
        intake.check(1)
    assert intake.reserved_bytes == 100
    assert tally.value(BODIES_REJECTED, "full") == 2
    intake.release(second)
    intake.check(40)
    assert intake.reserved_bytes == 60
