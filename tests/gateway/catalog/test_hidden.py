"""Proves that a registered model with an experiment's name is reported: in log, metric and details."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.catalog.hidden import HIDDEN_EXPERIMENTS, HiddenExperiments
from gateway.domain.refs import Alias, ModelRef, Number
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from tests.gateway.catalog.conftest import opened
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.faulty_proxy import FaultyProxy

TEXT = "The registered model 'wine' is served in place of the experiment with the same name"
WINE = ModelRef("wine", Number(1))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages about hidden experiments."""
    found = [record for record in caplog.records if vars(record).get("event") == "experiment_hidden"]
    return [record.getMessage() for record in found]


async def test_it_is_told_once(proxy: FaultyProxy, caplog: pytest.LogCaptureFixture) -> None:
    """Whichever version is asked for, and however often; MLflow is asked once too."""
    counters = Counters()
    async with opened(proxy.url, counters, GATEWAY_CATALOG_TTL_SECONDS="0") as catalog:
        for _ in range(3):
            for selector in (Number(1), Alias("champion")):
                await catalog.resolve(ModelRef("wine", selector))
            await catalog.resolve(ModelRef("copied", Number(1)))
        await until(lambda: bool(told(caplog)) and proxy.counted("experiments/get-by-name") == 2)
        await catalog.get_model("wine")
        await catalog.list_models(max_results=100, page_token=None, name_contains="wine")
    assert told(caplog) == [TEXT]
    assert counters.value(HIDDEN_EXPERIMENTS) == 1


@pytest.mark.parametrize("kinds", ["registry", "experiments"])
async def test_nothing_is_hidden_if_one_kind_is_served(
    proxy: FaultyProxy, kinds: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without experiments MLflow is not asked for one; without the registry none is hidden."""
    async with opened(proxy.url, GATEWAY_SOURCES=kinds) as catalog:
        details = await catalog.get_model("wine")
        assert details.hides_experiment is None
        await catalog.list_models(max_results=100, page_token=None, name_contains="wine")
        if kinds == "registry":
            await catalog.resolve(WINE)
            assert proxy.counted("experiments/get-by-name") == 0
    assert told(caplog) == []


async def test_a_list_tells_it(seeded: Seeded, caplog: pytest.LogCaptureFixture) -> None:
    """Without a further call, because it needs both lists anyway."""
    async with opened(seeded.server.url) as catalog:
        await catalog.list_models(max_results=100, page_token=None, name_contains="wine")
    assert told(caplog) == [TEXT]


async def test_the_details_have_the_experiment(seeded: Seeded) -> None:
    """Its id, or None if there is none, or only a deleted one."""
    async with opened(seeded.server.url) as catalog:
        hidden = (await catalog.get_model("wine")).hides_experiment
        found = seeded.server.call("experiments/get-by-name?experiment_name=wine", {}, method="GET")
        assert hidden == found["experiment"]["experiment_id"]
        for name in ("copied", "forest"):
            assert (await catalog.get_model(name)).hides_experiment is None


async def test_mlflow_is_asked_again_after_a_failure(
    proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed call neither disturbs a request nor counts as an answer."""
    settings = load({"MLFLOW_TRACKING_URI": proxy.url, "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"})
    async with MlflowClient(settings.mlflow) as client:
        hidden = HiddenExperiments(client, Counters())
        proxy.fault = "wrong"
        hidden.look_up_soon("wine")
        await until(lambda: proxy.counted("experiments/get-by-name") >= 1 and not hidden._look_ups)
        proxy.fault = ""
        hidden.look_up_soon("wine")
        await until(lambda: bool(told(caplog)))
        await hidden.close()


async def test_look_ups_end_with_the_catalog(proxy: FaultyProxy) -> None:
    """Also one that MLflow does not answer; and only a few run at once."""
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": proxy.url}).mlflow) as client:
        hidden = HiddenExperiments(client, Counters())
        proxy.fault = "slow"
        for number in range(50):
            hidden.look_up_soon(f"model-{number}")
        running = len(hidden._look_ups)
        assert 0 < running <= 10
        await until(lambda: proxy.counted("experiments/get-by-name") == running)
        async with asyncio.timeout(10):
            await hidden.close()
        assert not hidden._look_ups
