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


def granted() -> None:
    """Do nothing: the test looks at the claim."""


def test_answers_wait_for_each_other() -> None:
    """In the order of their claims, so that small ones do not keep a large one waiting for ever."""
    limiter, calls = BodyMemoryLimit(100, counters=Counters()), list[str]()
    first = limiter.claim(60, granted)
    large = limiter.claim(50, lambda: calls.append("large"))
    small = limiter.claim(10, lambda: calls.append("small"))
    assert (first.granted, large.granted, small.granted) == (True, False, False)
    first.release(9)
    assert calls == []
    first.release(1)
    assert calls == ["large"]
    assert limiter.answer_bytes == 100
    first.release(50)
    assert calls == ["large", "small"]
    assert not limiter.answers_wait


def test_an_answer_always_fits_alone() -> None:
    """Even one that is larger than the limit, beside as many bodies as fit; so none waits for ever."""
    limiter = BodyMemoryLimit(100, counters=Counters())
    limiter.reserve(object(), 100)  # type: ignore[arg-type] # only its identity is used
    huge = limiter.claim(1000, granted)
    assert huge.granted
    assert not limiter.claim(1, granted).granted


def test_a_claim_that_waits_can_be_withdrawn() -> None:
    """Those behind it move up."""
    limiter = BodyMemoryLimit(100, counters=Counters())
    limiter.claim(60, granted)
    large, small = limiter.claim(50, granted), limiter.claim(10, granted)
    large.release(50)
    assert small.granted
    assert limiter.answer_bytes == 70


def test_bodies_and_answers_share_the_limit(connections: list[web.RequestHandler]) -> None:
    """An answer waits for bodies too, but however many answers there are, half of the limit is for bodies."""
    first, second = connections
    limiter = BodyMemoryLimit(100, counters=Counters())
    answer = limiter.claim(30, granted)
    limiter.reserve(first, 70)
    with pytest.raises(BodyMemoryExceeded):
        limiter.check(1)
    waiting = limiter.claim(20, granted)
    assert limiter.answers_wait
    limiter.release(first)
    assert waiting.granted
    answer.release(30)
    assert limiter.claim(80, granted).granted
    limiter.reserve(second, 50)
    with pytest.raises(BodyMemoryExceeded):
        limiter.check(1)
