"""Proves that a gateway that shuts down knows the requests in flight."""

from __future__ import annotations

from gateway.api.inflight import InFlightRequests


def test_knows_whose_request_is_in_flight() -> None:
    """From its coming to its answer, and whether or not the gateway shuts down."""
    drain = InFlightRequests()
    drain.add("one")
    drain.add("other")
    drain.remove("one")
    assert (drain.count, drain.contains("one"), drain.contains("other")) == (1, False, True)
    drain.start_draining()
    assert drain.draining
    drain.remove("other")
    assert drain.count == 0
