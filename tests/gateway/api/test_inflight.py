"""Proves that a gateway that shuts down knows the requests in flight."""

from __future__ import annotations

from gateway.api.inflight import Drain


def test_knows_whose_request_is_in_flight() -> None:
    """From its coming to its answer, and whether or not the gateway shuts down."""
    drain = Drain()
    drain.enter("one")
    drain.enter("other")
    drain.leave("one")
    assert (drain.in_flight, drain.holds("one"), drain.holds("other")) == (1, False, True)
    drain.start()
    assert drain.started
    drain.leave("other")
    assert drain.in_flight == 0
