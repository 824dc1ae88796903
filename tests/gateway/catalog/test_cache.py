"""How long an answer is kept, and what happens while MLflow cannot be asked."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from gateway.catalog.cache import CachedValue, StaleWhileRevalidateCache
from gateway.catalog.catalog import STALE_RESOLUTIONS
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
from workers.metrics import Counters

if TYPE_CHECKING:
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.faulty_proxy import Fault, Front

CHAMPION = ModelRef("wine", Alias("champion"))


class Lookup:
    """A lookup that counts, and does what the test tells it."""

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self.error: GatewayError | None = None

    async def __call__(self, key: str) -> str:
        self.calls += 1
        number = self.calls
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return f"{key}{number}"


async def test_an_answer_is_fresh_for_its_time() -> None:
    """Within it nobody is asked; after it, one lookup."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.2)
    assert memory.get_fresh("a") is None
    assert await memory.get("a") == CachedValue("a1")
    assert (memory.get_fresh("a"), await memory.get("a"), lookup.calls) == ("a1", CachedValue("a1"), 1)
    await asyncio.sleep(0.25)
    assert memory.get_fresh("a") is None
    assert await memory.get("a") == CachedValue("a2")
    await memory.close()


async def test_an_answer_in_use_is_refreshed_behind_the_request() -> None:
    """Nobody who asks steadily ever waits, and the answers follow."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.2)
    await memory.get("a")
    lookup.seconds = 0.02
    answers = []
    for _ in range(50):
        answers.append(memory.get_fresh("a"))
        await asyncio.sleep(0.01)
    assert None not in answers
    assert lookup.calls >= 3
    await memory.close()


async def test_a_lookup_longer_than_its_time_is_followed_by_a_pause() -> None:
    """A slow server is not asked all the time, and what it says counts as fresh for a while."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.05)
    lookup.seconds = 0.3
    assert await memory.get("a") == CachedValue("a1")
    assert memory.get_fresh("a") == "a1"
    await asyncio.sleep(0.1)
    assert (memory.get_fresh("a"), lookup.calls) == ("a1", 1)
    await memory.close()


async def test_one_lookup_serves_all_who_ask_meanwhile() -> None:
    """Also where one of them goes away."""
    lookup = Lookup()
    lookup.seconds = 0.05
    memory = StaleWhileRevalidateCache(lookup, ttl=5)
    askers = [asyncio.create_task(memory.get("a")) for _ in range(50)]
    await asyncio.sleep(0.01)
    askers[0].cancel()
    answers = await asyncio.gather(*askers[1:])
    assert set(answers) == {CachedValue("a1")}
    assert lookup.calls == 1
    await memory.close()


@pytest.mark.parametrize("error", [UpstreamUnavailable("x"), UpstreamTimeout("x"), BadUpstreamResponse("x")])
async def test_the_last_answer_serves_while_nobody_can_be_asked(error: GatewayError) -> None:
    """Marked stale; the server in trouble is asked once in a while, not by each request."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.05, retry_delay=0.2)
    await memory.get("a")
    await asyncio.sleep(0.06)
    lookup.error = error
    for _ in range(20):
        assert await memory.get("a") == CachedValue("a1", stale=True)
    assert lookup.calls == 2
    with pytest.raises(type(error)):
        await memory.get("b")
    await asyncio.sleep(0.25)
    lookup.error = None
    assert await memory.get("a") == CachedValue("a4")
    await memory.close()


@pytest.mark.parametrize("error", [NotFound("x"), BestMetricUndecided("x")])
async def test_an_answer_that_no_longer_holds_is_forgotten(error: GatewayError) -> None:
    """What MLflow says is gone is gone, also when MLflow goes away afterwards."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.05)
    await memory.get("a")
    await asyncio.sleep(0.06)
    lookup.error = error
    with pytest.raises(type(error)):
        await memory.get("a")
    lookup.error = UpstreamUnavailable("x")
    with pytest.raises(UpstreamUnavailable):
        await memory.get("a")
    await memory.close()


async def test_a_slow_lookup_delays_nobody_for_long() -> None:
    """After some patience the old answer serves, as stale, while the lookup goes on and is kept."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.1, refresh_timeout=0.1)
    await memory.get("a")
    await asyncio.sleep(0.11)
    lookup.seconds = 0.25
    started = perf_counter()
    assert await memory.get("a") == CachedValue("a1", stale=True)
    assert perf_counter() - started < 0.2
    await asyncio.sleep(0.17)
    assert memory.get_fresh("a") is None or memory.get_fresh("a") == "a2"
    assert lookup.calls == 2
    await memory.close()


async def test_who_asks_while_a_lookup_hangs_does_not_wait() -> None:
    """Only the first asker is patient; all later ones get the old answer at once, until it has ended."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.05, refresh_timeout=0.2, retry_delay=0.05)
    await memory.get("a")
    await asyncio.sleep(0.06)
    lookup.seconds = 0.6
    assert await memory.get("a") == CachedValue("a1", stale=True)
    started = perf_counter()
    for _ in range(20):
        assert await memory.get("a") == CachedValue("a1", stale=True)
        await asyncio.sleep(0.005)
    assert perf_counter() - started < 0.25
    assert lookup.calls == 2
    await asyncio.sleep(0.35)
    lookup.seconds = 0.0
    assert await memory.get("a") != CachedValue("a1", stale=True)
    await memory.close()


async def test_a_refresh_that_hangs_spends_the_patience_too() -> None:
    """Begun behind a request while the answer was fresh: when that ends, nobody waits again."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.4, refresh_timeout=0.1)
    await memory.get("a")
    lookup.seconds = 60
    await asyncio.sleep(0.32)
    assert memory.get_fresh("a") == "a1"
    await asyncio.sleep(0.12)
    started = perf_counter()
    assert await memory.get("a") == CachedValue("a1", stale=True)
    assert perf_counter() - started < 0.05
    await memory.close()


async def test_a_first_asker_waits_only_so_long() -> None:
    """The lookup goes on without it, and what it finds is there for the next."""
    lookup = Lookup()
    lookup.seconds = 0.3
    memory = StaleWhileRevalidateCache(lookup, ttl=5, lookup_timeout=0.1)
    with pytest.raises(UpstreamUnavailable, match="still asked"):
        await memory.get("a")
    await asyncio.sleep(0.3)
    assert (memory.get_fresh("a"), lookup.calls) == ("a1", 1)
    await memory.close()


async def test_only_so_many_lookups_wait() -> None:
    """Of first askers of ever new keys; who asks for one that is looked up already waits for it."""
    lookup = Lookup()
    lookup.seconds = 0.2
    memory = StaleWhileRevalidateCache(lookup, ttl=5, max_lookups=2)
    askers = [asyncio.create_task(memory.get(key)) for key in ("a", "b", "b")]
    await asyncio.sleep(0.05)
    with pytest.raises(UpstreamUnavailable, match="Too many"):
        await memory.get("c")
    assert {answer.value for answer in await asyncio.gather(*askers)} == {"a1", "b2"}
    assert await memory.get("c") == CachedValue("c3")
    await memory.close()


async def test_only_so_many_answers_are_kept() -> None:
    """The least recently used goes first."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=60, max_entries=2)
    for key in ("a", "b"):
        await memory.get(key)
    assert memory.get_fresh("a") == "a1"
    await memory.get("c")
    assert (memory.get_fresh("a"), memory.get_fresh("b"), memory.get_fresh("c")) == ("a1", None, "c3")
    await memory.close()


async def test_closing_ends_what_runs() -> None:
    """A lookup behind a request has an owner, too."""
    lookup = Lookup()
    memory = StaleWhileRevalidateCache(lookup, ttl=0.04)
    await memory.get("a")
    lookup.seconds = 60
    await asyncio.sleep(0.035)
    assert memory.get_fresh("a") == "a1"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert lookup.calls == 2
    before = perf_counter()
    await memory.close()
    assert perf_counter() - before < 1


async def test_a_moved_alias_is_taken_up_in_time(seeded: Seeded) -> None:
    """Within the answer's time and one lookup, on a real server, while requests go on."""
    ttl = 0.4
    async with opened(seeded.server.url, GATEWAY_CATALOG_TTL_SECONDS=str(ttl)) as catalog:
        assert (await catalog.resolve(CHAMPION)).version.version == "2"
        body = {"name": "wine", "alias": "champion"}
        try:
            await asyncio.to_thread(seeded.server.call, "registered-models/alias", {**body, "version": "1"})
            moved = perf_counter()
            while (await catalog.resolve(CHAMPION)).version.version == "2":
                assert perf_counter() - moved < ttl + 1
                await asyncio.sleep(0.01)
        finally:
            await asyncio.to_thread(seeded.server.call, "registered-models/alias", {**body, "version": "2"})


async def test_n_first_askers_cost_one_lookup(proxy: Front) -> None:
    """Fifty requests for one alias: the calls of one."""
    async with opened(proxy.url) as catalog:
        resolutions = await asyncio.gather(*(catalog.resolve(CHAMPION) for _ in range(50)))
        assert {resolution.version.version for resolution in resolutions} == {"2"}
        assert len(proxy.calls) == 2
        assert catalog.resolve_cached(CHAMPION) is not None
        assert len(proxy.calls) == 2


@pytest.mark.parametrize("fault", ["away", "wrong", "slow"])
async def test_known_models_serve_on_while_mlflow_is_down(
    proxy: Front, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Stale and counted, two lines in the log for all requests; unknown ones get the upstream's error."""
    caplog.set_level(logging.INFO, "gateway")
    tally = Counters()
    soon_old = {"GATEWAY_CATALOG_TTL_SECONDS": "0.05", "MLFLOW_HTTP_REQUEST_TIMEOUT": "1.5"}
    async with opened(proxy.url, tally, **soon_old) as catalog:
        before = (catalog.ever_reached, catalog.unavailable_reason)
        await catalog.resolve(CHAMPION)
        assert [before, (catalog.ever_reached, catalog.unavailable_reason)] == [(False, None), (True, None)]
        await asyncio.sleep(0.06)
        proxy.fault = fault
        resolutions = [await catalog.resolve(CHAMPION) for _ in range(5)]
        assert {(found.version.version, found.stale) for found in resolutions} == {("2", True)}
        assert tally.value(STALE_RESOLUTIONS) == 5
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
    texts = [record.getMessage() for record in caplog.records if record.name.startswith("gateway.catalog")]
    assert len(texts) == 3
    assert any("serves on" in text for text in texts[:2])
    assert any("what it said before" in text for text in texts[:2])
    assert texts[2] == "MLflow answers again"


async def test_a_probe_is_a_real_call(proxy: Front) -> None:
    """A server whose health page is green but whose API fails is not reached."""
    proxy.fault = "wrong"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse):
            await catalog.probe()
        assert not catalog.ever_reached
        proxy.fault = ""
        with pytest.raises(NotFound):
            await catalog.resolve(ModelRef("nothing", Latest()))
        assert catalog.ever_reached


async def test_a_server_never_reached_has_nothing_known(
    proxy: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """The log does not speak of models that serve on where none was ever learnt of."""
    proxy.fault = "wrong"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse):
            await catalog.probe()
    (text,) = [record.getMessage() for record in caplog.records if record.name.startswith("gateway.catalog")]
    assert "serves on" not in text
