"""Proves that metrics and models are fetched in batches, even from servers without all of MLflow 3's API."""

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
    from tests.support.faulty_proxy import FaultyProxy


async def test_models_are_fetched_one_by_one_if_the_search_is_rejected(proxy: FaultyProxy) -> None:
    """An early MLflow 3 does not support IN in that search; the result is the same."""
    proxy.refused = "logged-models/search"
    async with opened(proxy.url) as catalog:
        details = await catalog.get_model("wine")
    assert [version.metrics["rmse"] for version in details.versions] == [0.7, 0.5, 0.9]
    assert sum("/logged-models/m-" in path for path in proxy.calls) == 3


async def test_without_logged_models_the_runs_metrics_count(proxy: FaultyProxy) -> None:
    """As on MLflow 2, whose server answers with its 404 page; the last listed of several models is served."""
    proxy.unknown = "logged-models"
    async with opened(proxy.url) as catalog:
        assert (await catalog.resolve(ModelRef("wine", Best("r2")))).version.version == "2"
        assert (await catalog.get_version(ModelRef("forest", Number(4)))).status == "READY"


async def test_a_rejected_request_is_a_response(proxy: FaultyProxy) -> None:
    """A 400 that any words get is an upstream error, but MLflow does not count as unavailable."""
    proxy.refused = "registered-models"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse, match="400 INVALID_PARAMETER_VALUE"):
            await catalog.resolve(ModelRef("wine", Number(1)))
        assert (catalog.ever_reached, catalog.unavailable_reason) == (True, None)


async def test_a_rejected_first_page_is_not_a_bad_request(proxy: FaultyProxy) -> None:
    """Only a token that the client sent can make its request a bad one."""
    proxy.refused = "registered-models/search"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse):
            await catalog.list_models(max_results=10, page_token=None, name_contains="")


async def test_runs_are_found_by_id(seeded: Seeded) -> None:
    """Deleted runs are included; malformed and unknown ids are left out."""
    wanted = seeded.ids["forest"]["runs"] + seeded.ids["wine"]["runs"]
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": seeded.server.url}).mlflow) as client:
        found = await runs_by_id(client, [*wanted, "", "it's none", "0" * 32, *wanted])
    assert set(found) == set(wanted)


async def test_one_failure_cancels_all_calls() -> None:
    """The result for NotFound is None; another failure is raised, and no call is left running."""
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
