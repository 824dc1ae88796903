"""Hundreds of versions on a real server, counted in calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.domain.refs import Best, Latest, ModelRef, Number
from tests.gateway.catalog.conftest import opened

if TYPE_CHECKING:
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.faulty_proxy import Front

COUNT = 120
SCRIPT = Path(__file__).parents[2] / "support" / "many_models.py"


@pytest.fixture(scope="module")
def many(seeded: Seeded) -> int:
    """An experiment `many` of 120 runs, each with a registered version of `many-registered`."""
    made: int = seeded.server.script(SCRIPT, seeded.server.url, str(COUNT))
    return made


async def test_best_of_hundreds_costs_a_few_calls(proxy: Front, many: int) -> None:
    """Metrics come in batches: of 120 versions, not one call each."""
    async with opened(proxy.url) as catalog:
        resolution = await catalog.resolve(ModelRef("many-registered", Best("score", "max")))
        assert resolution.version.version == str(many)
        assert len(proxy.calls) <= 16


async def test_latest_of_hundreds_costs_two_calls(proxy: Front, many: int) -> None:
    """The newest are asked for first."""
    async with opened(proxy.url) as catalog:
        assert (await catalog.resolve(ModelRef("many-registered", Latest()))).version.version == str(many)
        assert len(proxy.calls) == 2


async def test_an_experiment_of_hundreds_costs_a_few_calls(proxy: Front, many: int) -> None:
    """Its runs come by the thousand."""
    async with opened(proxy.url) as catalog:
        assert (await catalog.resolve(ModelRef("many", Number(many)))).version.version == str(many)
        assert len(proxy.calls) <= 4


async def test_the_list_does_not_ask_per_experiment(proxy: Front, many: int) -> None:
    """One page of everything, in a handful of calls."""
    async with opened(proxy.url) as catalog:
        page = await catalog.list_models(max_results=1000, page_token=None, name_contains="")
        latest = {model.name: model.latest for model in page.models}
        assert (latest["many"], latest["many-registered"]) == (str(many), str(many))
        assert len(proxy.calls) <= 6


async def test_who_asks_for_a_model_meanwhile_shares_the_answer(proxy: Front, many: int) -> None:
    """Five that ask at once cost no more calls than one."""
    async with opened(proxy.url) as catalog:
        answers = await asyncio.gather(*(catalog.get_model("many") for _ in range(5)))
        assert all(answer.best and answer.best.version == str(many) for answer in answers)
        assert proxy.counted("runs/search") == 1


async def test_best_of_an_experiment_costs_a_few_calls(proxy: Front, many: int) -> None:
    """All its runs by the thousand, and the best one whole."""
    async with opened(proxy.url) as catalog:
        found = (await catalog.resolve(ModelRef("many", Best("score", "max")))).version
        assert (found.version, found.metrics) == (str(many), {"score": float(many)})
        assert len(proxy.calls) <= 4
