"""Proves that the bytes of request bodies are counted exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.api.body.memory_limit import BODIES_REJECTED, BodyMemoryExceeded, BodyMemoryLimit
from workers.metrics import Counters

if TYPE_CHECKING:
    from aiohttp import web


@pytest.fixture
def connections() -> list[web.RequestHandler]:
    """Two objects in place of connections: the limiter uses only their identity."""
    return [object(), object()]  # type: ignore[list-item] # nothing of them is used


def test_reserved_bytes(connections: list[web.RequestHandler]) -> None:
    """Each body counts with its size so far until its response; one that shrinks releases the rest."""
    first, second = connections
    limiter = BodyMemoryLimit(100, counters=Counters())
    limiter.reserve(first, 30)
    limiter.reserve(first, 60)
    limiter.reserve(second, 40)
    assert limiter.reserved_bytes == 100
    limiter.reserve(first, 10)
    assert limiter.reserved_bytes == 50
    limiter.release(first)
    limiter.release(first)
    assert limiter.reserved_bytes == 40
    limiter.release(second)
    assert limiter.reserved_bytes == 0


def test_a_body_that_does_not_fit(connections: list[web.RequestHandler]) -> None:
    """It is rejected and counted; its bytes are released with its response."""
    first, second = connections
    counters = Counters()
    limiter = BodyMemoryLimit(100, counters=counters)
    limiter.reserve(first, 60)
    limiter.reserve(second, 40)
    limiter.check(0)
    with pytest.raises(BodyMemoryExceeded):
        limiter.reserve(second, 41)
    with pytest.raises(BodyMemoryExceeded):
        limiter.check(1)
    assert limiter.reserved_bytes == 100
    assert counters.value(BODIES_REJECTED, "memory") == 2
    limiter.release(second)
    limiter.check(40)
    assert limiter.reserved_bytes == 60
