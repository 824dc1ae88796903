"""Proves that the requests in flight are known by connection."""

from __future__ import annotations

from gateway.api.inflight import InFlightRequests


def test_from_request_to_response() -> None:
    """A connection is in flight from its request to its response, also during a shutdown."""
    in_flight = InFlightRequests()
    in_flight.add("one")
    in_flight.add("other")
    in_flight.remove("one")
    assert (in_flight.count, in_flight.contains("one"), in_flight.contains("other")) == (1, False, True)
    in_flight.start_draining()
    assert in_flight.draining
    in_flight.remove("other")
    assert in_flight.count == 0
