"""Proves how much a node may have a gateway parse beside replies."""

from __future__ import annotations

import pytest

from gateway.engines.fleet.control_rate import ControlRate
from gateway.engines.wire.control import State
from gateway.engines.wire.fields import WireError
from gateway.engines.wire.messages import encode_control
from gateway.engines.wire.state import NodeState
from tests.gateway.engines.fleet.harness import fleet

MIB = 2**20


def test_what_an_honest_node_sends_is_taken() -> None:
    """Fifty short states a second, or two long ones, for an hour."""
    for size, every in ((8_000, 0.02), (2 * MIB, 1.0)):
        rate = ControlRate(0.0)
        for number in range(int(3600 / every)):
            rate.take(size, number * every)


@pytest.mark.parametrize(("size", "times"), [(8 * MIB, 5), (20, 3_000)])
def test_a_flood_is_refused(size: int, times: int) -> None:
    """Of long messages as of short ones; after a while some are taken again."""
    rate = ControlRate(0.0)

    def flood() -> None:
        for _ in range(times):
            rate.take(size, 0.0)

    with pytest.raises(WireError):
        flood()
    rate.take(size, 60.0)


def test_a_node_that_floods_loses_its_link_and_its_requests_go_elsewhere() -> None:
    """The gateway goes on with the other nodes."""
    with fleet() as nodes:
        home = nodes.warm("m")
        asked = nodes.predict("m", b"1")
        flood = encode_control(State(NodeState()))
        for link in list(home.links):
            for _ in range(3_000):
                link.tell(flood)
        nodes.loop.advance(0.01)
        nodes.answer_all()
        nodes.loop.advance(0.1)
        nodes.answer_all()
        nodes.loop.advance(0.1)
        assert asked.result().reply.body == b"answer to 1"
