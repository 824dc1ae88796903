"""Proves that hundreds of versions on a real server cost only a few calls to MLflow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.domain.refs import Best, Latest, ModelRef, Number
from tests.gateway.catalog.conftest import MANY, opened

if TYPE_CHECKING:
    from tests.support.faulty_proxy import FaultyProxy


async def test_best_of_hundreds_costs_a_few_calls(proxy: FaultyProxy) -> None:
    """Metrics come in batches: 120 versions do not cost a call each."""
    async with opened(proxy.url) as catalog:
        resolution = await catalog.resolve(ModelRef("many-registered", Best("score", "max")))
        assert resolution.version.version == str(MANY)
        assert len(proxy.calls) <= 16


async def test_latest_of_hundreds_costs_two_calls(proxy: FaultyProxy) -> None:
    """The newest versions are fetched first."""
    async with opened(proxy.url) as catalog:
        assert (await catalog.resolve(ModelRef("many-registered", Latest()))).version.version == str(MANY)
        calls = [path for path in proxy.calls if not path.endswith("experiments/get-by-name")]
        assert len(calls) == 2


async def test_an_experiment_of_hundreds_costs_a_few_calls(proxy: FaultyProxy) -> None:
    """Its runs come in pages of a thousand."""
    async with opened(proxy.url) as catalog:
        assert (await catalog.resolve(ModelRef("many", Number(MANY)))).version.version == str(MANY)
        assert len(proxy.calls) <= 4


async def test_the_list_makes_no_call_per_experiment(proxy: FaultyProxy) -> None:
    """One page with all models costs a few calls."""
    async with opened(proxy.url) as catalog:
        page = await catalog.list_models(max_results=1000, page_token=None, name_contains="")
        latest = {model.name: model.latest for model in page.models}
        assert (latest["many"], latest["many-registered"]) == (str(MANY), str(MANY))
        assert len(proxy.calls) <= 6


async def test_concurrent_requests_for_a_model_share_the_result(proxy: FaultyProxy) -> None:
    """Five concurrent requests cost no more calls than one."""
    async with opened(proxy.url) as catalog:
        results = await asyncio.gather(*(catalog.get_model("many") for _ in range(5)))
        assert all(details.best and details.best.version == str(MANY) for details in results)
        assert proxy.counted("runs/search") == 1


async def test_best_of_an_experiment_costs_a_few_calls(proxy: FaultyProxy) -> None:
    """All its runs in pages of a thousand, and the best run with all its fields."""
    async with opened(proxy.url) as catalog:
        found = (await catalog.resolve(ModelRef("many", Best("score", "max")))).version
        assert (found.version, found.metrics) == (str(MANY), {"score": float(MANY)})
        assert len(proxy.calls) <= 4
