"""Pins of a node: the union over its links, and for a while those of links that went."""

from __future__ import annotations

from gateway.node.pins import NodePins
from tests.support.waiting import until
from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import ModelKey

A, B, C = (ModelKey(name, "1", "f") for name in "abc")


async def test_pins_are_the_union_over_links() -> None:
    """What no link pins any more may be evicted again."""
    pool = Pool(PoolLimits)
    pins = NodePins(pool)
    pins.replace("one", [A, B])
    pins.replace("two", [B, C])
    assert pool.pinned == {A, B, C}
    pins.replace("one", [])
    assert pool.pinned == {B, C}
    pins.close()


async def test_pins_of_a_link_that_went_hold_for_a_while() -> None:
    """Its gateway may be back soon, under another link, and must find its models."""
    pool = Pool(PoolLimits)
    pins = NodePins(pool, kept_seconds=0.05)
    pins.replace("one", [A])
    pins.replace("two", [B])
    pins.release("one")
    pins.release("none")
    assert pool.pinned == {A, B}
    await until(lambda: pool.pinned == {B})
    pins.close()
