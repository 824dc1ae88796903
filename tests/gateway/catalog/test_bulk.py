"""Metrics and models in batches, also from servers that lack a part of MLflow 3's API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.catalog.bulk import gather_bounded, runs_by_id
from gateway.domain.refs import Best, ModelRef, Number
from gateway.errors import BadUpstreamResponse, NotFound
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from tests.gateway.catalog.conftest import opened

if TYPE_CHECKING:
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.faulty_proxy import Front


async def test_a_server_whose_search_refuses_is_asked_one_by_one(proxy: Front) -> None:
    """An early MLflow 3 does not know IN in that search; the answer is the same."""
    proxy.refused = "logged-models/search"
    async with opened(proxy.url) as catalog:
        details = await catalog.get_model("wine")
    assert [version.metrics["rmse"] for version in details.versions] == [0.7, 0.5, 0.9]
    assert sum("/logged-models/m-" in path for path in proxy.calls) == 3


async def test_without_logged_models_the_runs_metrics_count(proxy: Front) -> None:
    """As on MLflow 2, whose server answers its 404 page; of several models the last one listed serves."""
    proxy.unknown = "logged-models"
    async with opened(proxy.url) as catalog:
        assert (await catalog.resolve(ModelRef("wine", Best("r2")))).version.version == "2"
        assert (await catalog.get_version(ModelRef("forest", Number(4)))).status == "READY"


async def test_a_refusal_is_an_answer(proxy: Front) -> None:
    """MLflow's own 400 is an upstream fault for the caller, but MLflow is not away."""
    proxy.refused = "registered-models/get"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse, match="400 INVALID_PARAMETER_VALUE"):
            await catalog.resolve(ModelRef("wine", Number(1)))
        assert (catalog.ever_reached, catalog.unavailable_reason) == (True, None)


async def test_a_refused_first_page_is_not_the_callers_fault(proxy: Front) -> None:
    """Only a token that the caller sent can make a bad request of it."""
    proxy.refused = "registered-models/search"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse):
            await catalog.list_models(max_results=10, page_token=None, name_contains="")


async def test_runs_are_found_by_id(seeded: Seeded) -> None:
    """Deleted ones too; ids that are none, or nobody's, are left out."""
    wanted = seeded.ids["forest"]["runs"] + seeded.ids["wine"]["runs"]
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": seeded.server.url}).mlflow) as client:
        found = await runs_by_id(client, [*wanted, "", "it's none", "0" * 32, *wanted])
    assert set(found) == set(wanted)


async def test_one_failure_ends_them_all() -> None:
    """What is not there is None; another failure is raised, and no call is left running."""
    running = 0

    async def call(number: int) -> int:
        nonlocal running
        running += 1
        try:
            if number == 1:
                raise NotFound("x")
            if number == 99:
                raise BadUpstreamResponse("x")
            return number
        finally:
            running -= 1

    assert await gather_bounded(call, [0, 1, 2]) == [0, None, 2]
    with pytest.raises(BadUpstreamResponse):
        await gather_bounded(call, list(range(200)))
    assert running == 0
