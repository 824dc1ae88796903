"""When a server counts as silent, who may still try it, and what ends it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from gateway.errors import UpstreamTimeout, UpstreamUnavailable
from gateway.mlflow_client import MlflowClient
from gateway.mlflow_client.circuit_breaker import CircuitBreaker
from gateway.settings import load
from tests.support.faulty_proxy import HANG, answer, scripted

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = b'{"registered_model": {"name": "wine"}}'


def hang(silence: CircuitBreaker, beside: Callable[[], object] = bool) -> float:
    """One call that runs out of its time, `beside` happening meanwhile; what time it was given."""
    given = []
    with suppress(TimeoutError), silence.call() as seconds:
        given.append(seconds)
        beside()
        raise TimeoutError
    return given[0]


def is_refused(silence: CircuitBreaker) -> bool:
    """Whether a call is refused; one that is not is answered."""
    try:
        with silence.call():
            return False
    except UpstreamUnavailable:
        return True


def test_after_a_call_that_ran_out_of_time_others_are_refused() -> None:
    """Until the rest is over: then one may try, and its answer ends the silence."""
    silence = CircuitBreaker(10, reset_timeout=0.0)
    hang(silence)
    with silence.call() as seconds:
        assert seconds == 5
        assert is_refused(silence)
    assert not is_refused(silence)
    silence = CircuitBreaker(10, reset_timeout=60)
    hang(silence)
    assert is_refused(silence)


def test_a_try_may_take_longer_each_time() -> None:
    """A server that only became slow is found again, within the limit of any call."""
    silence = CircuitBreaker(30, open_after=4, reset_timeout=0.0)
    hang(silence)
    assert [hang(silence) for _ in range(5)] == [4, 8, 16, 30, 30]


def test_one_slow_call_among_answers_is_no_silence() -> None:
    """A search that takes too long says nothing of the server while others are answered."""
    silence = CircuitBreaker(10)
    hang(silence, lambda: is_refused(silence))
    assert not is_refused(silence)


def test_an_error_is_an_answer() -> None:
    """Whatever ends a call before its time is over."""
    silence = CircuitBreaker(10, reset_timeout=0.0)
    hang(silence)
    with pytest.raises(ValueError, match="500"), silence.call():
        raise ValueError("500")
    with silence.call() as seconds:
        assert seconds == 10


async def test_a_cancelled_try_leaves_the_place_to_the_next() -> None:
    """Its asker went away: that says nothing of the server."""
    silence = CircuitBreaker(10, reset_timeout=0.0)
    hang(silence)
    with pytest.raises(asyncio.CancelledError), silence.call():
        raise asyncio.CancelledError
    with silence.call() as seconds:
        assert seconds == 5


async def test_who_comes_while_others_wait_in_vain_is_refused() -> None:
    """From `patience` on, one tries and the others need not wait for any call's end."""
    silence = CircuitBreaker(10, open_after=0.1)
    with silence.call() as first:
        await asyncio.sleep(0.15)
        with silence.call() as trying:
            assert is_refused(silence)
    assert (first, trying) == (10, 0.1)
    assert not is_refused(silence)


async def test_a_hanging_server_holds_up_a_few_connections() -> None:
    """A hundred calls while it hangs: those after the first that failed are refused without a connection."""
    async with scripted(HANG) as server:
        named = load({"MLFLOW_TRACKING_URI": server.url, "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}).mlflow
        async with MlflowClient(named) as mlflow:
            with pytest.raises(UpstreamTimeout):
                await mlflow.get_registered_model("wine")
            started = perf_counter()
            for _ in range(100):
                with pytest.raises(UpstreamUnavailable, match="has not answered"):
                    await mlflow.get_registered_model("wine")
            assert perf_counter() - started < 1
            assert len(server.requests) == 1


async def test_an_answer_brings_it_back() -> None:
    """The first call after the rest is answered, and so is every later one."""
    async with scripted(HANG, answer(200, MODEL)) as server:
        named = load({"MLFLOW_TRACKING_URI": server.url, "MLFLOW_HTTP_REQUEST_TIMEOUT": "0.5"}).mlflow
        async with MlflowClient(named) as mlflow:
            with pytest.raises(UpstreamTimeout):
                await mlflow.get_registered_model("wine")
            async with asyncio.timeout(20):
                while True:
                    try:
                        found = await mlflow.get_registered_model("wine")
                    except UpstreamUnavailable:
                        await asyncio.sleep(0.05)
                        continue
                    break
            assert found.name == "wine"
            assert (await mlflow.get_registered_model("wine")).name == "wine"
