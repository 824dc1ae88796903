"""Which versions of an MLflow 2.22 server have files of their own; it accepts almost any source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.catalog import Catalog
from gateway.domain.refs import Latest, ModelRef, Number
from gateway.errors import ArtifactLocationForbidden
from gateway.mlflow_client import MlflowClient
from gateway.settings import CurrentSettings, load
from tests.support.gateways import gateway_at, invoke
from tests.support.mlflow_records import create_run, unique_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.mlflow_server import MlflowServer

SEED = Path(__file__).parents[1] / "support" / "seed.py"
BODY = b'{"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}'
OWN = {"GATEWAY_SOURCE_CHECK": "own"}


@pytest.fixture(scope="module")
def ids(mlflow2_server: MlflowServer) -> Any:
    """What the seed made there; it is made once, whichever test module comes first."""
    server = mlflow2_server
    found = server.call("registered-models/search?max_results=1", {}, method="GET")
    return found if "registered_models" in found else server.script(SEED, server.url)


@pytest.fixture
async def own(mlflow2_server: MlflowServer) -> AsyncIterator[Catalog]:
    """A catalog that refuses files of others."""
    settings = load({"MLFLOW_TRACKING_URI": mlflow2_server.url, **OWN})
    async with MlflowClient(settings.mlflow) as client:
        catalog = Catalog(client, CurrentSettings(settings))
        yield catalog
        await catalog.close()


async def locate(catalog: Catalog, ref: ModelRef) -> str:
    return await catalog.resolve_uri((await catalog.resolve(ref)).version)


@pytest.mark.parametrize(
    "ref",
    [
        *(ModelRef("wine", Number(number)) for number in (1, 2, 3)),
        ModelRef("copied", Number(1)),
        ModelRef("by-run", Number(1)),
        ModelRef("by-run", Number(2)),
        ModelRef("it's 100% a_b", Number(1)),
        ModelRef("forest", Latest()),
        ModelRef("forest/nested: odd", Latest()),
    ],
)
async def test_what_its_client_makes_is_its_own(own: Catalog, ids: Any, ref: ModelRef) -> None:
    """Registered from runs, copied, created by hand, and the runs of experiments."""
    assert (await locate(own, ref)).startswith("mlflow-artifacts:/")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("{victim}/model", ""),
        ("{victim}/model", "own"),
        ("{own}-x/model", "own"),
        ("runs:/{id}/model", "own"),
        ("mlflow-artifacts://host:80/1/x", ""),
        ("s3://bucket/secret", "own"),
        ("s3://bucket/secret", ""),
    ],
)
async def test_what_it_lets_through(
    own: Catalog, mlflow2_server: MlflowServer, source: str, names: str
) -> None:
    """MLflow 3.17 refuses most of these when the version is made; this server takes each of them."""
    victim, thief = [create_run(mlflow2_server, "0") for _ in range(2)]
    location = source.format(victim=victim["artifact_uri"], own=thief["artifact_uri"], id=victim["run_id"])
    name = unique_name("thief")
    mlflow2_server.call("registered-models/create", {"name": name})
    body = {"name": name, "source": location} | ({"run_id": thief["run_id"]} if names else {})
    mlflow2_server.call("model-versions/create", body)
    with pytest.raises(ArtifactLocationForbidden, match="GATEWAY_SOURCE_CHECK=own"):
        await locate(own, ModelRef(name, Number(1)))


async def test_a_stolen_model_does_not_predict(
    mlflow2_server: MlflowServer, ids: Any, tmp_path: Path
) -> None:
    """The files of wine/1 as a version of another model: 424 with the check, also once they are cached."""
    source = mlflow2_server.call("model-versions/get?name=wine&version=1", {}, method="GET")
    name = unique_name("thief")
    mlflow2_server.call("registered-models/create", {"name": name})
    stolen = {"name": name, "source": source["model_version"]["source"]}
    mlflow2_server.call("model-versions/create", stolen)
    path = f"/model/{name}/1/invocation"
    async with gateway_at(mlflow2_server.url, tmp_path) as gateway:
        assert (await invoke(gateway, path, BODY))[1]["predictions"] == [1, 1]
    async with gateway_at(mlflow2_server.url, tmp_path, **OWN) as gateway:
        status, answer = await invoke(gateway, path, BODY)
        assert (status, answer["error_code"]) == (424, "PERMISSION_DENIED")
        assert stolen["source"] not in answer["message"]
        async with gateway.get(f"/model/{name}/1") as response:
            details = await response.json()
        assert (details["artifact_uri"], details["requirements"]) == (None, None)
        assert (await invoke(gateway, "/model/wine/1/invocation", BODY))[1]["predictions"] == [1, 1]
