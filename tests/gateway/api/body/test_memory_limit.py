"""Proves that what is held of bodies is counted to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.api.body.memory_limit import BODIES_REFUSED, Intake, IntakeFull
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
    intake = Intake(100, tally=Counters())
    intake.hold(first, 30)
    intake.hold(first, 60)
    intake.hold(second, 40)
    assert intake.held == 100
    intake.hold(first, 10)
    assert intake.held == 50
    intake.release(first)
    intake.release(first)
    assert intake.held == 40
    intake.release(second)
    assert intake.held == 0


def test_what_does_not_fit(connections: list[web.RequestHandler]) -> None:
    """It is refused and counted; what was held of that body is given back with its answer."""
    first, second = connections
    tally = Counters()
    intake = Intake(100, tally=tally)
    intake.hold(first, 60)
    intake.hold(second, 40)
    intake.expect(0)
    with pytest.raises(IntakeFull):
        intake.hold(second, 41)
    with pytest.raises(IntakeFull):
        intake.expect(1)
    assert intake.held == 100
    assert tally.value(BODIES_REFUSED, "full") == 2
    intake.release(second)
    intake.expect(40)
    assert intake.held == 60
