"""Proves what model code can see of the gateway's environment and of the MLflow server, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateways import BODY

if TYPE_CHECKING:
    import aiohttp

    from tests.end_to_end.conftest import Start
    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a fork server of its own each

FOR_MODELS, GATEWAYS_OWN = "for models", "hunter2"
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": GATEWAYS_OWN,
    "OPENAI_API_KEY": FOR_MODELS,
    "OTHER_API_KEY": "not for models",
    "HF_TOKEN": FOR_MODELS,
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HOME": "/models/hub",
}


async def ask(client: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    """Invoke the model that reads from MLflow; return the status and the JSON of the response."""
    headers = {"Content-Type": "application/json"}
    async with client.post(f"{url}/model/api-reads/1/invocation", data=BODY, headers=headers) as response:
        return response.status, await response.json()


async def test_a_model_may_read_if_the_operator_says_so(
    start: Start, client: aiohttp.ClientSession, mlflow_server: MlflowServer
) -> None:
    """It loads another model and a prompt, with credentials of its own. It writes nothing, no traces."""
    process = start(
        preload="lean",
        GATEWAY_MODEL_MLFLOW="read",
        GATEWAY_MODEL_ENVIRONMENT="OPENAI_API_KEY, HF_*",
        MLFLOW_TRACKING_USERNAME="gateway",
        **SECRETS | {"GATEWAY_MODEL_MLFLOW_TOKEN": FOR_MODELS, "MLFLOW_TRACKING_PASSWORD": GATEWAYS_OWN},
    )
    status, answer = await ask(client, process.url)
    assert status == 200, answer
    seen = answer["predictions"]
    assert (seen["inner"], seen["prompt"]) == ([30.0, 70.0], "say {{word}}")
    assert "models can only read from MLflow here" in seen["refusal"]
    environment = seen["environment"]
    assert environment["MLFLOW_TRACKING_URI"] == mlflow_server.url
    assert environment["MLFLOW_TRACKING_TOKEN"] == FOR_MODELS
    assert environment["OPENAI_API_KEY"] == environment["HF_TOKEN"] == FOR_MODELS
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
    assert environment["HF_HOME"] == "/models/hub"
    assert "OTHER_API_KEY" not in environment
    assert GATEWAYS_OWN not in environment.values()
    assert await stored_traces(client, mlflow_server) == []


async def stored_traces(client: aiohttp.ClientSession, server: MlflowServer) -> list[Any]:
    """Return the traces of the experiments in which the model could have stored some."""
    found = server.call("experiments/get-by-name?experiment_name=api-training", {}, method="GET")
    locations = [
        {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": number}}
        for number in ("0", found["experiment"]["experiment_id"])
    ]
    url = f"{server.url}/api/3.0/mlflow/traces/search"
    async with client.post(url, json={"locations": locations}) as response:
        assert response.status == 200
        return list((await response.json()).get("traces", []))


async def test_a_model_has_no_access_by_default(start: Start, client: aiohttp.ClientSession) -> None:
    """The client reads which setting the operator would change."""
    process = start(preload="lean", **SECRETS)
    status, answer = await ask(client, process.url)
    assert status == 424
    assert answer["message"].endswith(
        'The model asked MLflow to "get experiment by name", but models have no access to MLflow here. '
        "GATEWAY_MODEL_MLFLOW=read lets models read from the MLflow server."
    )
