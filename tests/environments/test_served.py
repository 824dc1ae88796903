"""Proves that one gateway serves models of many environments at once, each as in its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest
import pytest_asyncio

from tests.environments.asking import ask, body, details, run_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.environments.made import MadeModel
    from tests.support.gateway_process import Process
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = ("mlflow130-boosted", "mlflow219-boosted", "mlflow219-code", "boosting-lightgbm", "boosting-xgboost")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    mlflow_server: MlflowServer,
    trained: dict[str, MadeModel],
    built_once: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Process]:
    """Run a gateway that builds environments."""
    folder = tmp_path_factory.mktemp("served")
    with run_gateway(mlflow_server, folder, GATEWAY_ENVIRONMENTS_DIR=built_once) as process:
        yield process


async def test_every_model_answers_as_in_its_own_environment(
    running: Process, trained: dict[str, MadeModel]
) -> None:
    """All are asked at once, so that their environments are built beside each other and run together."""
    answers = await asyncio.gather(*(ask(running.url, name) for name in trained))
    for model, (status, answer) in zip(trained.values(), answers, strict=True):
        assert status == 200, (model.name, answer)
        assert orjson.dumps(answer["predictions"]) == orjson.dumps(model.answers), model.name


async def test_each_environment_has_the_models_own_python_and_today_has_none(
    running: Process, trained: dict[str, MadeModel]
) -> None:
    """A version whose requirements are here already shares the gateway's environment."""
    for name in OWN:
        environment = (await details(running.url, name))["environment"]
        assert environment["state"] == "ready", name
        assert environment["python"] == trained[name].python.rpartition(".")[0]
    digests = {name: (await details(running.url, name))["environment"]["digest"] for name in OWN}
    assert len(set(digests.values())) == len(OWN)
    forest = (await details(running.url, "mlflow130-forest"))["environment"]
    assert forest["digest"] == digests["mlflow130-boosted"]  # whose requirements are the same
    assert (await details(running.url, "today-boosted"))["environment"] == {"state": "shared"}


async def test_wrong_inputs_are_refused_as_for_every_model(running: Process) -> None:
    """The codec of an environment's workers is the gateway's own."""
    status, answer = await ask(running.url, "mlflow130-boosted", body(columns=["c0"]))
    assert status == 400
    assert "c1" in answer["message"]
