"""Models that MLflow 2.22 logged, on its own server, predicted through the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateways import gateway_at, invoke

if TYPE_CHECKING:
    from tests.support.mlflow_server import MlflowServer

SEED = Path(__file__).parents[1] / "support" / "seed.py"
BODY = b'{"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}'


@pytest.fixture(scope="module")
def ids(mlflow2_server: MlflowServer) -> Any:
    """What the seed made there; it is made once, whichever test module comes first."""
    server = mlflow2_server
    found = server.call("registered-models/search?max_results=1", {}, method="GET")
    return found if "registered_models" in found else server.script(SEED, server.url)


async def test_every_kind_of_version_predicts(mlflow2_server: MlflowServer, ids: Any, tmp_path: Path) -> None:
    """By number, alias, latest and best; by a `runs:/` source, a copy, and as an experiment's run."""
    wanted = {
        "/model/wine/1/invocation": 1,
        "/model/wine/@champion/invocation": 2,
        "/model/wine/invocation/latest": 3,
        "/model/wine/invocation/best?metric=rmse&order=min": 2,
        "/model/by-run/1/invocation": 1,
        "/model/copied/1/invocation": 2,
        "/model/forest/1/invocation": 1,
        "/models/forest/5/invocation/": 5,
    }
    async with gateway_at(mlflow2_server.url, tmp_path) as gateway:
        for path, number in wanted.items():
            status, answer = await invoke(gateway, path, BODY)
            assert (status, answer.get("predictions")) == (200, [number, number]), path


async def test_details_of_an_old_version(mlflow2_server: MlflowServer, ids: Any, tmp_path: Path) -> None:
    """What its MLmodel says is read through the old server too."""
    async with gateway_at(mlflow2_server.url, tmp_path) as gateway, gateway.get("/model/wine/2") as answer:
        told = await answer.json()
    assert told["mlflow_version"].startswith("2.22")
    assert told["flavors"] == ["python_function"]
    assert told["requirements"] == ["mlflow"]
    assert told["artifact_uri"].startswith("mlflow-artifacts:")
