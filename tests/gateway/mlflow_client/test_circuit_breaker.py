"""Proves when the circuit breaker opens, which calls are probes, and what closes it."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from gateway.errors import UpstreamTimeout, UpstreamUnavailable
from gateway.mlflow_client.circuit_breaker import CircuitBreaker
from gateway.mlflow_client.transport import Transport
from tests.support.faulty_proxy import HANG, answer, scripted
from tests.support.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@asynccontextmanager
async def opened(url: str, *, timeout: float, reset_timeout: float) -> AsyncIterator[Transport]:  # noqa: ASYNC109 - a setting of the transport
    """Open a transport to `url` with its own circuit breaker."""
    transport = Transport(
        URL(url),
        headers={},
        tls=ssl.create_default_context(),
        timeout=timeout,
        connections=10,
        circuit_breaker=CircuitBreaker(timeout, reset_timeout=reset_timeout),
    )
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


def time_out(breaker: CircuitBreaker, meanwhile: Callable[[], object] = bool) -> float:
    """Make a call that times out; return the seconds that the breaker allowed for it."""
    allowed = []
    with suppress(TimeoutError), breaker.call() as seconds:
        allowed.append(seconds)
        meanwhile()
        raise TimeoutError
    return allowed[0]


def is_rejected(breaker: CircuitBreaker) -> bool:
    """Return whether a call is rejected; a call that is not gets a response."""
    try:
        with breaker.call():
            return False
    except UpstreamUnavailable:
        return True


def test_a_timeout_opens_the_breaker() -> None:
    """Until the reset timeout is over; then one call is a probe, and a response to it closes the breaker."""
    breaker = CircuitBreaker(10, reset_timeout=0.0)
    time_out(breaker)
    with breaker.call() as seconds:
        assert seconds == 5
        assert is_rejected(breaker)
    assert not is_rejected(breaker)
    breaker = CircuitBreaker(10, reset_timeout=60)
    time_out(breaker)
    assert is_rejected(breaker)


def test_each_probe_may_take_longer() -> None:
    """A server that has become slow is reached again, within the time limit of any call."""
    breaker = CircuitBreaker(30, open_after=4, reset_timeout=0.0)
    time_out(breaker)
    assert [time_out(breaker) for _ in range(5)] == [4, 8, 16, 30, 30]


def test_a_timeout_among_responses_does_not_open_the_breaker() -> None:
    """One search that takes too long does not matter while other calls get responses."""
    breaker = CircuitBreaker(10)
    time_out(breaker, lambda: is_rejected(breaker))
    assert not is_rejected(breaker)


def test_an_error_is_a_response() -> None:
    """Any end of a call before its time limit closes the breaker."""
    breaker = CircuitBreaker(10, reset_timeout=0.0)
    time_out(breaker)
    with pytest.raises(ValueError, match="500"), breaker.call():
        raise ValueError("500")
    with breaker.call() as seconds:
        assert seconds == 10


async def test_after_a_cancelled_probe_the_next_call_is_a_probe() -> None:
    """A caller that is cancelled says nothing about the server."""
    breaker = CircuitBreaker(10, reset_timeout=0.0)
    time_out(breaker)
    with pytest.raises(asyncio.CancelledError), breaker.call():
        raise asyncio.CancelledError
    with breaker.call() as seconds:
        assert seconds == 5


def test_a_pending_call_opens_the_breaker() -> None:
    """After `open_after` seconds the next call is a probe, and further calls are rejected."""
    clock = ManualClock()
    breaker = CircuitBreaker(10, open_after=2, clock=clock)
    with breaker.call() as first:
        clock.advance(3)
        with breaker.call() as probe:
            assert is_rejected(breaker)
    assert (first, probe) == (10, 2)
    assert not is_rejected(breaker)


def test_a_server_that_is_always_slow_does_not_open_the_breaker() -> None:
    """A pending call opens it only after twice the latency of the last responses."""
    clock = ManualClock()
    breaker = CircuitBreaker(20, open_after=2, clock=clock)
    with breaker.call():
        clock.advance(4)
    with breaker.call():
        clock.advance(7)
        assert not is_rejected(breaker)
    with breaker.call():
        clock.advance(15)
        with breaker.call():
            assert is_rejected(breaker)


async def test_a_hanging_server_gets_few_connections() -> None:
    """Of many calls to a hanging server, all after the first timeout are rejected without a connection."""
    async with scripted(HANG) as server, opened(server.url, timeout=0.3, reset_timeout=600) as transport:
        with pytest.raises(UpstreamTimeout):
            await transport.text("/version")
        for _ in range(100):
            with pytest.raises(UpstreamUnavailable, match="has not answered"):
                await transport.text("/version")
        assert len(server.requests) == 1


async def test_a_response_closes_the_breaker() -> None:
    """The first probe after the reset timeout gets a response, and so does every later call."""
    script = (HANG, answer(200, b"3.0"))
    async with scripted(*script) as server, opened(server.url, timeout=0.5, reset_timeout=0.1) as transport:
        with pytest.raises(UpstreamTimeout):
            await transport.text("/version")
        async with asyncio.timeout(30):
            while await _version(transport) is None:  # noqa: ASYNC110 - the reset timeout ends without an event
                await asyncio.sleep(0.02)
        assert await _version(transport) == "3.0"


async def _version(transport: Transport) -> str | None:
    try:
        return await transport.text("/version")
    except (UpstreamUnavailable, UpstreamTimeout):
        return None
