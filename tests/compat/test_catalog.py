"""The catalog before an MLflow 2.22 server, with models that its own client logged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.catalog import Catalog
from gateway.catalog.locations import resolve_uri
from gateway.domain.models import BestChoice
from gateway.domain.refs import Alias, Best, Latest, ModelId, ModelRef, Number, RunId
from gateway.errors import ArtifactsNotFound, NotFound, VersionNotServable
from gateway.mlflow_client import EndpointNotFound, MlflowClient
from gateway.settings import CurrentSettings, load
from tests.support.mlflow_records import create_empty_experiment, create_plain_run, put_artifact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.domain.refs import Selector
    from tests.support.mlflow_server import MlflowServer

SEED = Path(__file__).parents[1] / "support" / "seed.py"


@pytest.fixture(scope="module")
def ids(mlflow2_server: MlflowServer) -> Any:
    """What the seed made there."""
    return mlflow2_server.script(SEED, mlflow2_server.url)


@pytest.fixture
async def client(mlflow2_server: MlflowServer) -> AsyncIterator[MlflowClient]:
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": mlflow2_server.url}).mlflow) as client:
        yield client


@pytest.fixture
async def catalog(client: MlflowClient, ids: Any) -> AsyncIterator[Catalog]:
    catalog = Catalog(client, CurrentSettings(load({"GATEWAY_CATALOG_TTL_SECONDS": "0"})))
    yield catalog
    await catalog.close()


async def test_the_server_is_of_the_older_major_version(client: MlflowClient) -> None:
    """Otherwise these tests would show nothing; it has no logged models."""
    assert (await client.server_version()).startswith("2.")
    with pytest.raises(EndpointNotFound):
        await client.get_logged_model("m-1")


@pytest.mark.parametrize(
    ("selector", "version"),
    [
        (Number(1), "1"),
        (Latest(), "3"),
        (Alias("champion"), "2"),
        (Best("rmse"), "2"),
        (Best("r2", "min"), "1"),
    ],
)
async def test_every_selector_finds_its_version(catalog: Catalog, selector: Selector, version: str) -> None:
    """Registered versions and their runs' metrics."""
    assert (await catalog.resolve(ModelRef("wine", selector))).version.version == version


async def test_a_model_lists_its_versions(catalog: Catalog) -> None:
    """With the metrics of their runs; there are no logged models to have any."""
    details = await catalog.get_model("wine")
    assert [version.metrics["rmse"] for version in details.versions] == [0.7, 0.5, 0.9]
    assert details.best == BestChoice("2", "rmse", 0.5, "min")
    assert [version.model_id for version in details.versions] == [""] * 3


@pytest.mark.parametrize(
    ("ref", "scheme"),
    [
        (ModelRef("wine", Number(1)), "mlflow-artifacts:/"),
        (ModelRef("copied", Number(1)), "models:/wine/2"),
        (ModelRef("by-run", Number(1)), "runs:/"),
        (ModelRef("by-run", Number(2)), "runs:/"),
        (ModelRef("forest", Latest()), "runs:/"),
    ],
)
async def test_files_are_found(catalog: Catalog, client: MlflowClient, ref: ModelRef, scheme: str) -> None:
    """Whatever form the source has, the MLmodel lies where the catalog says."""
    version = (await catalog.resolve(ref)).version
    assert version.uri.startswith(scheme)
    path = (await catalog.resolve_uri(version)).removeprefix("mlflow-artifacts:/")
    assert "MLmodel" in {entry.path for entry in await client.list_artifacts(path)}
    async with client.stream_artifact(f"{path}/MLmodel") as stream:
        assert b"python_function" in b"".join([chunk async for chunk in stream]) or ref.selector == Number(2)


async def test_an_experiments_runs_are_versions(catalog: Catalog, ids: Any) -> None:
    """By the tag mlflow.log-model.history; the newest of two models in run 4."""
    details = await catalog.get_model("forest")
    assert [version.run_id for version in details.versions][::-1] == ids["forest"]["runs"]
    statuses = [version.status for version in details.versions][::-1]
    assert statuses == ["READY", "FINISHED", "DELETED", "READY", "READY", "FAILED"]
    assert details.versions[2].uri == f"runs:/{ids['forest']['runs'][3]}/second"
    assert details.model.latest == "5"
    with pytest.raises(VersionNotServable, match="has no model"):
        await catalog.resolve(ModelRef("forest", Number(2)))


async def test_the_list_and_prompts(catalog: Catalog) -> None:
    """Prompts are hidden from the list and refused by name, as with MLflow 3."""
    page = await catalog.list_models(max_results=100, page_token=None, name_contains="")
    sources = {model.name: model.source for model in page.models}
    assert (sources["wine"], sources["forest"]) == ("registry", "experiment")
    assert "a-prompt" not in sources
    with pytest.raises(VersionNotServable, match="prompt"):
        await catalog.resolve(ModelRef("a-prompt", Latest()))


async def test_a_model_of_mlflow_3_is_gone(client: MlflowClient) -> None:
    """A source copied from a newer server leads nowhere here."""
    with pytest.raises(ArtifactsNotFound):
        await resolve_uri(client, "models:/m-0123456789abcdef")


async def test_ids_of_runs_and_of_no_model(catalog: Catalog, ids: Any) -> None:
    """A run's id stands where its number does; no model has an id, and none is logged without a run."""
    run_ids = ids["forest"]["runs"]
    by_id = (await catalog.resolve(ModelRef("forest", RunId(run_ids[0])))).version
    assert by_id.key == (await catalog.resolve(ModelRef("forest", Number(1)))).version.key
    found = (await catalog.resolve(ModelRef("wine", RunId(ids["wine"]["runs"][1])))).version
    assert found.version == "2"
    for name in ("forest", "wine"):
        with pytest.raises(NotFound, match="this id"):
            await catalog.resolve(ModelRef(name, ModelId("m-0123456789abcdef")))
    assert (await catalog.get_model("forest")).without_run == ()


async def test_a_model_among_a_runs_artifacts(
    catalog: Catalog, mlflow2_server: MlflowServer, ids: Any
) -> None:
    """MLflow 2 has no record of a model that `log_artifacts` saved either."""
    name, experiment_id = create_empty_experiment(mlflow2_server)
    run = create_plain_run(mlflow2_server, experiment_id)
    put_artifact(mlflow2_server, f"{run['artifact_uri']}/model/MLmodel")
    version = (await catalog.resolve(ModelRef(name, Latest()))).version
    assert (version.version, version.uri) == ("1", f"runs:/{run['run_id']}/model")
