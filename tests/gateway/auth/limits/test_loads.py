"""Proves that one principal has few models loaded at once, and that no other waits for it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.auth.errors import LimitExceeded
from gateway.auth.limits.loads import UNCOUNTED, PrincipalLoads
from gateway.auth.limits.refusals import RATE_LIMITED
from gateway.auth.principal import ANYONE
from gateway.settings import CurrentSettings, load
from tests.support.principals import principal
from workers.metrics import Counters

A, B = principal("a"), principal("b")


def loads(seconds: str = "60") -> PrincipalLoads:
    values = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "GATEWAY_REQUEST_TIMEOUT_SECONDS": seconds}
    return PrincipalLoads(CurrentSettings(load(values)), counters=Counters())


async def test_a_third_load_waits_for_one_of_two() -> None:
    """It takes the place of the first that ends; another principal waits for none of them."""
    limit = loads()
    first, second = await limit.take(A), await limit.take(A)
    third = asyncio.create_task(limit.take(A))
    other = await limit.take(B)
    await asyncio.sleep(0)
    assert not third.done()
    first.release()
    first.release()
    fourth = asyncio.create_task(limit.take(A))
    taken = await third
    assert not fourth.done()
    for slot in (taken, second, other):
        slot.release()
    (await fourth).release()
    assert len(limit) == 0


async def test_one_that_waits_too_long_is_refused() -> None:
    """That is within the time of a request; it is counted, and leaves nothing behind."""
    limit = loads("0.05")
    slots = [await limit.take(A), await limit.take(A)]
    with pytest.raises(LimitExceeded, match="2 other models") as refused:
        await limit.take(A)
    assert (refused.value.limit, refused.value.headers) == ("loads", {"Retry-After": "5"})
    assert limit._counters.value(RATE_LIMITED, "keys:a", "loads") == 1
    for slot in slots:
        slot.release()
    assert len(limit) == 0


@pytest.mark.parametrize("handed_over", [False, True])
async def test_one_that_gives_up_while_it_waits_passes_the_turn_on(*, handed_over: bool) -> None:
    """Also in the moment in which it was to have its turn."""
    limit = loads()
    slots = [await limit.take(A), await limit.take(A)]
    gone, next_one = asyncio.create_task(limit.take(A)), asyncio.create_task(limit.take(A))
    await asyncio.sleep(0)
    if handed_over:
        slots.pop().release()
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    if not handed_over:
        slots.pop().release()
    (await next_one).release()
    slots.pop().release()
    assert len(limit) == 0


async def test_loads_that_no_principal_causes_have_no_limit() -> None:
    """Pinned models, new versions in the background, and callers who are not asked who they are."""
    limit = loads()
    assert [await limit.take(each) for each in (None, ANYONE) * 5] == [UNCOUNTED] * 10
    UNCOUNTED.release()
    assert len(limit) == 0
