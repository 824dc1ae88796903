"""Proves how long resolutions are cached, and what requests get while MLflow does not answer."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from gateway.catalog.cache import CachedValue, StaleWhileRevalidateCache
from gateway.catalog.catalog import STALE_HITS
from gateway.domain.refs import Alias, Latest, ModelRef, Number
from gateway.errors import (
    BadUpstreamResponse,
    BestMetricUndecided,
    GatewayError,
    NotFound,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from tests.gateway.catalog.conftest import opened
from tests.support.manual_clock import ManualClock, run_ready_tasks
from tests.support.mlflow_records import create_model
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.faulty_proxy import Fault, FaultyProxy
    from tests.support.mlflow_server import MlflowServer

    MakeCache = Callable[..., StaleWhileRevalidateCache[str, str]]

CHAMPION = ModelRef("wine", Alias("champion"))


class Lookup:
    """A lookup that counts its calls, waits while `gate` is not set, and raises `error` if there is one.

    `seconds` pass on the clock during each call.
    """

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.calls = 0
        self.seconds = 0.0
        self.error: GatewayError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, key: str) -> str:
        self.calls += 1
        number = self.calls
        self._clock.advance(self.seconds)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"{key}{number}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def lookup(clock: ManualClock) -> Lookup:
    return Lookup(clock)


@pytest.fixture
async def make_cache(lookup: Lookup, clock: ManualClock) -> AsyncIterator[MakeCache]:
    """A function that makes a cache of `lookup` with this TTL and other options; it is closed afterwards."""
    caches: list[StaleWhileRevalidateCache[str, str]] = []

    def make(ttl: float, **options: Any) -> StaleWhileRevalidateCache[str, str]:
        caches.append(StaleWhileRevalidateCache(lookup, ttl=lambda: ttl, clock=clock, **options))
        return caches[-1]

    yield make
    for cache in caches:
        await cache.close()


async def test_a_value_is_fresh_for_its_lifetime(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache
) -> None:
    """A fresh value needs no lookup; after its lifetime one lookup is made."""
    cache = make_cache(10)
    assert cache.get_fresh("a") is None
    assert await cache.get("a") == CachedValue("a1")
    clock.advance(7)
    assert (cache.get_fresh("a"), await cache.get("a"), lookup.calls) == ("a1", CachedValue("a1"), 1)
    clock.advance(4)
    assert cache.get_fresh("a") is None
    assert await cache.get("a") == CachedValue("a2")


async def test_another_ttl_applies_to_known_values(lookup: Lookup, clock: ManualClock) -> None:
    """The TTL is read at each use, so a reloaded setting needs no restart."""
    ttl = 10.0
    cache = StaleWhileRevalidateCache(lookup, ttl=lambda: ttl, clock=clock)
    await cache.get("a")
    clock.advance(7)
    assert cache.get_fresh("a") == "a1"
    ttl = 5.0
    assert cache.get_fresh("a") is None
    await cache.close()


async def test_a_value_in_use_is_refreshed_in_the_background(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache
) -> None:
    """A client that asks steadily never waits, and gets new values."""
    cache = make_cache(10)
    await cache.get("a")
    values = []
    for _ in range(50):
        values.append(cache.get_fresh("a"))
        clock.advance(0.5)
        await run_ready_tasks()
    assert None not in values
    assert lookup.calls >= 3
    assert values[-1] == f"a{lookup.calls}"


async def test_a_lookup_longer_than_the_ttl_extends_the_lifetime(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache
) -> None:
    """A slow server is not asked all the time: its answer is fresh for twice the lookup's time."""
    cache = make_cache(1)
    lookup.seconds = 6
    assert await cache.get("a") == CachedValue("a1")
    assert cache.get_fresh("a") == "a1"
    clock.advance(2)
    assert (cache.get_fresh("a"), lookup.calls) == ("a1", 1)


async def test_concurrent_callers_share_one_lookup(lookup: Lookup, make_cache: MakeCache) -> None:
    """The lookup also continues if the caller that started it is cancelled."""
    lookup.gate.clear()
    cache = make_cache(10)
    callers = [asyncio.create_task(cache.get("a")) for _ in range(50)]
    await run_ready_tasks()
    callers[0].cancel()
    lookup.gate.set()
    assert set(await asyncio.gather(*callers[1:])) == {CachedValue("a1")}
    assert lookup.calls == 1


@pytest.mark.parametrize("error", [UpstreamUnavailable("x"), UpstreamTimeout("x"), BadUpstreamResponse("x")])
async def test_the_last_value_is_served_while_lookups_fail(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache, error: GatewayError
) -> None:
    """It is marked stale, and the failing server is asked once per retry delay, not by each request."""
    cache = make_cache(10, retry_delay=20)
    await cache.get("a")
    clock.advance(11)
    lookup.error = error
    for _ in range(20):
        assert await cache.get("a") == CachedValue("a1", stale=True)
    assert lookup.calls == 2
    with pytest.raises(type(error)):
        await cache.get("b")
    clock.advance(21)
    lookup.error = None
    assert await cache.get("a") == CachedValue("a4")


@pytest.mark.parametrize("error", [NotFound("x"), BestMetricUndecided("x")])
async def test_a_value_that_no_longer_holds_is_removed(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache, error: GatewayError
) -> None:
    """A model that was deleted in MLflow is not served from the cache when MLflow fails later."""
    cache = make_cache(10)
    await cache.get("a")
    clock.advance(11)
    lookup.error = error
    with pytest.raises(type(error)):
        await cache.get("a")
    lookup.error = UpstreamUnavailable("x")
    with pytest.raises(UpstreamUnavailable):
        await cache.get("a")


async def test_a_slow_lookup_delays_a_caller_only_shortly(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache
) -> None:
    """After the refresh timeout the caller gets the stale value; the lookup goes on and its value is kept."""
    cache = make_cache(10, refresh_timeout=0.05)
    await cache.get("a")
    clock.advance(11)
    lookup.gate.clear()
    assert await cache.get("a") == CachedValue("a1", stale=True)
    lookup.gate.set()
    await run_ready_tasks()
    assert cache.get_fresh("a") == "a2"
    assert lookup.calls == 2


async def test_later_callers_do_not_wait_for_a_lookup_that_hangs(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache
) -> None:
    """The refresh timeout counts from the lookup's start: after it, callers get the stale value at once."""
    cache = make_cache(10, refresh_timeout=60)
    await cache.get("a")
    clock.advance(11)
    lookup.gate.clear()
    first = asyncio.create_task(cache.get("a"))
    await run_ready_tasks()
    clock.advance(61)
    async with asyncio.timeout(30):
        for _ in range(20):
            assert await cache.get("a") == CachedValue("a1", stale=True)
    assert lookup.calls == 2
    lookup.gate.set()
    assert await first == CachedValue("a2")


async def test_a_refresh_that_hangs_uses_up_the_refresh_timeout_too(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache
) -> None:
    """It starts while the value is fresh: at the end of the lifetime no caller waits for it again."""
    cache = make_cache(400, refresh_timeout=60)
    await cache.get("a")
    lookup.gate.clear()
    clock.advance(320)
    assert cache.get_fresh("a") == "a1"
    await run_ready_tasks()
    clock.advance(120)
    async with asyncio.timeout(30):
        assert await cache.get("a") == CachedValue("a1", stale=True)


async def test_a_first_caller_waits_for_a_limited_time(lookup: Lookup, make_cache: MakeCache) -> None:
    """The lookup goes on without the caller, and its value is ready for the next one."""
    lookup.gate.clear()
    cache = make_cache(10, lookup_timeout=0.05)
    with pytest.raises(UpstreamUnavailable, match="the lookup continues"):
        await cache.get("a")
    lookup.gate.set()
    await run_ready_tasks()
    assert (cache.get_fresh("a"), lookup.calls) == ("a1", 1)


async def test_the_number_of_concurrent_lookups_is_limited(lookup: Lookup, make_cache: MakeCache) -> None:
    """A caller beyond the limit is rejected; one whose key is being looked up already waits for that."""
    lookup.gate.clear()
    cache = make_cache(10, max_lookups=2)
    callers = [asyncio.create_task(cache.get(key)) for key in ("a", "b", "b")]
    await run_ready_tasks()
    with pytest.raises(UpstreamUnavailable, match="Too many"):
        await cache.get("c")
    lookup.gate.set()
    assert {cached.value for cached in await asyncio.gather(*callers)} == {"a1", "b2"}
    assert await cache.get("c") == CachedValue("c3")


async def test_the_number_of_entries_is_limited(make_cache: MakeCache) -> None:
    """The least recently used entry is removed first."""
    cache = make_cache(60, max_entries=2)
    for key in ("a", "b"):
        await cache.get(key)
    assert cache.get_fresh("a") == "a1"
    await cache.get("c")
    assert (cache.get_fresh("a"), cache.get_fresh("b"), cache.get_fresh("c")) == ("a1", None, "c3")


async def test_closing_cancels_a_background_refresh(
    lookup: Lookup, clock: ManualClock, make_cache: MakeCache
) -> None:
    """Closing does not wait for a lookup that hangs."""
    cache = make_cache(10)
    await cache.get("a")
    lookup.gate.clear()
    clock.advance(9)
    assert cache.get_fresh("a") == "a1"
    await run_ready_tasks()
    assert lookup.calls == 2
    async with asyncio.timeout(30):
        await cache.close()


async def test_a_moved_alias_is_taken_up(mlflow_server: MlflowServer) -> None:
    """On a real server, after the TTL, while requests go on."""
    alias = {"name": create_model(mlflow_server, versions=2), "alias": "live"}
    ref = ModelRef(alias["name"], Alias("live"))
    mlflow_server.call("registered-models/alias", {**alias, "version": "2"})
    async with opened(mlflow_server.url, GATEWAY_CATALOG_TTL_SECONDS="0.4") as catalog:
        assert (await catalog.resolve(ref)).version.version == "2"
        await asyncio.to_thread(mlflow_server.call, "registered-models/alias", {**alias, "version": "1"})
        async with asyncio.timeout(30):
            while (await catalog.resolve(ref)).version.version == "2":  # noqa: ASYNC110 - MLflow has no event
                await asyncio.sleep(0.01)


async def test_concurrent_first_requests_cost_one_lookup(proxy: FaultyProxy) -> None:
    """Fifty requests for one alias make as many calls as one request."""
    async with opened(proxy.url) as catalog:
        resolutions = await asyncio.gather(*(catalog.resolve(CHAMPION) for _ in range(50)))
        assert {resolution.version.version for resolution in resolutions} == {"2"}
        assert proxy.counted("registered-models/get") == proxy.counted("model-versions/get") == 1
        assert catalog.resolve_cached(CHAMPION) is not None
        await until(lambda: proxy.counted("experiments/get-by-name") == 1)
        assert len(proxy.calls) == 3


@pytest.mark.parametrize("fault", ["away", "wrong", "slow"])
async def test_known_models_are_served_while_mlflow_fails(
    proxy: FaultyProxy, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests get stale resolutions, which are counted; the log has one line of each kind for all of them.

    A request for an unknown model gets the upstream error.
    """
    caplog.set_level(logging.INFO, "gateway")
    counters = Counters()
    seconds = "4" if fault == "slow" else "60"  # the other faults need no timeout
    settings = {"GATEWAY_CATALOG_TTL_SECONDS": "0.05", "MLFLOW_HTTP_REQUEST_TIMEOUT": seconds}
    async with opened(proxy.url, counters, **settings) as catalog:
        before = (catalog.ever_reached, catalog.unavailable_reason)
        await catalog.resolve(CHAMPION)
        assert [before, (catalog.ever_reached, catalog.unavailable_reason)] == [(False, None), (True, None)]
        proxy.fault = fault
        await until(lambda: catalog.resolve_cached(CHAMPION) is None)
        resolutions = [await catalog.resolve(CHAMPION) for _ in range(5)]
        assert {(found.version.version, found.stale) for found in resolutions} == {("2", True)}
        assert counters.value(STALE_HITS) == 5
        with pytest.raises((UpstreamUnavailable, UpstreamTimeout, BadUpstreamResponse)):
            await catalog.resolve(ModelRef("wine", Number(1)))
        with pytest.raises((UpstreamUnavailable, UpstreamTimeout, BadUpstreamResponse)):
            await catalog.probe()
        assert catalog.ever_reached
        assert "MLflow" in str(catalog.unavailable_reason)
        assert catalog.unavailable_since is not None
        proxy.fault = ""
        async with asyncio.timeout(30):
            while catalog.unavailable_reason is not None:
                with suppress(UpstreamUnavailable):
                    await catalog.probe()
                await asyncio.sleep(0.05)
        assert str(catalog.unavailable_since) == "None"
    loggers = ("gateway.catalog.cache", "gateway.catalog.availability")
    messages = [record.getMessage() for record in caplog.records if record.name in loggers]
    assert len(messages) == 3
    assert any("Known models are still served" in message for message in messages[:2])
    assert any("serving cached resolutions" in message for message in messages[:2])
    assert messages[2] == "Calls to MLflow succeed again"


async def test_a_probe_is_a_real_call(proxy: FaultyProxy) -> None:
    """A server whose health page works but whose API fails does not count as reached."""
    proxy.fault = "wrong"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse):
            await catalog.probe()
        assert not catalog.ever_reached
        proxy.fault = ""
        with pytest.raises(NotFound):
            await catalog.resolve(ModelRef("nothing", Latest()))
        assert catalog.ever_reached


async def test_the_log_of_a_server_never_reached(
    proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not mention known models, because there are none yet."""
    proxy.fault = "wrong"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse):
            await catalog.probe()
    (message,) = [
        record.getMessage() for record in caplog.records if record.name.startswith("gateway.catalog")
    ]
    assert "still served" not in message


async def test_the_values_are_bounded_by_their_size(make_cache: MakeCache, lookup: Lookup) -> None:
    """The value used least recently makes room; a lookup again counts its value once."""
    cache = make_cache(1000.0, max_bytes=40, size=lambda _: 10)
    for key in ("a", "b", "c", "d", "a", "e", "a"):
        await cache.get(key)
    assert lookup.calls == 5
    await cache.get("b")
    assert lookup.calls == 6


async def test_a_value_that_leaves_little_room_is_not_kept(make_cache: MakeCache, lookup: Lookup) -> None:
    """One large value does not take the place of many others: it is looked up each time."""
    cache = make_cache(1000.0, max_bytes=40, size=lambda value: 11 if value.startswith("large") else 10)
    for key in ("a", "b", "c", "large", "large"):
        await cache.get(key)
    assert lookup.calls == 5
    for key in ("a", "b", "c"):
        await cache.get(key)
    assert lookup.calls == 5
