"""Proves on a real MLflow server that the ids of logged models and of runs stand where a version stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.catalog.metrics import MetricReader
from gateway.catalog.readers import Readers
from gateway.catalog.run_folders import RunFolders
from gateway.catalog.run_reader import RunReader
from gateway.catalog.sources import find_source
from gateway.domain.refs import Best, Latest, ModelId, ModelRef, Number, RunId
from gateway.errors import NotFound, VersionNotServable
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from tests.gateway.catalog.conftest import opened
from tests.support.mlflow_records import (
    create_empty_experiment,
    create_experiment,
    create_logged_model,
    create_model_version,
    create_plain_run,
    log_metric,
    unique_name,
)

if TYPE_CHECKING:
    from gateway.catalog import Catalog
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.faulty_proxy import FaultyProxy
    from tests.support.mlflow_server import MlflowServer


async def test_a_model_without_a_run(writable_catalog: Catalog, mlflow_server: MlflowServer) -> None:
    """Its id is its version, and the experiment lists it beside its runs."""
    name, experiment_id = create_empty_experiment(mlflow_server)
    model = create_logged_model(
        mlflow_server, experiment_id, name="outside", gateway__batching="off", mlflow__user="x"
    )
    model_id = model["model_id"]
    evaluation = create_plain_run(mlflow_server, create_empty_experiment(mlflow_server)[1])
    log_metric(mlflow_server, evaluation["run_id"], "rmse", float("nan"), model_id=model_id)
    log_metric(mlflow_server, evaluation["run_id"], "mae", 0.5, model_id=model_id)
    ref = ModelRef(name, ModelId(model_id))
    version = (await writable_catalog.resolve(ref)).version
    assert (version.version, version.status, version.source) == (model_id, "READY", "experiment")
    assert (version.uri, version.run_id, version.tags) == (
        f"models:/{model_id}",
        "",
        {"gateway.batching": "off"},
    )
    assert await writable_catalog.resolve_uri(version) == model["artifact_uri"]
    details = await writable_catalog.get_version(ref)
    assert details.key == version.key
    assert details.metrics == pytest.approx({"mae": 0.5, "rmse": float("nan")}, nan_ok=True)
    whole = await writable_catalog.get_model(name)
    assert (whole.versions, whole.model.latest) == ((), None)
    assert [(each.key, each.logged_name) for each in whole.without_run] == [(version.key, "outside")]
    page = await writable_catalog.list_models(max_results=10, page_token=None, name_contains=name)
    assert [(each.name, each.latest) for each in page.models] == [(name, None)]
    for selector in (Latest(), Best()):
        with pytest.raises(
            NotFound, match=r"has no version\. A model logged without a run is reached by its id"
        ):
            await writable_catalog.resolve(ModelRef(name, selector))


@pytest.mark.parametrize(
    ("status", "tags", "text"),
    [
        ("PENDING", {}, "its status is PENDING"),
        ("FAILED", {}, "its status is UPLOAD_FAILED"),
        ("READY", {"mlflow__model__isExternal": "true"}, "has no model"),
    ],
)
async def test_a_model_that_cannot_be_served(
    writable_catalog: Catalog, mlflow_server: MlflowServer, status: str, tags: dict[str, str], text: str
) -> None:
    """Until its files are uploaded, and if MLflow has none; its details can be read."""
    name, experiment_id = create_empty_experiment(mlflow_server)
    model = create_logged_model(mlflow_server, experiment_id, status=status, **tags)
    ref = ModelRef(name, ModelId(model["model_id"]))
    with pytest.raises(VersionNotServable, match=text):
        await writable_catalog.resolve(ref)
    assert (await writable_catalog.get_version(ref)).version == model["model_id"]


async def test_a_model_of_a_run(writable_catalog: Catalog, mlflow_server: MlflowServer) -> None:
    """The model that a run's number serves is that version; an older one of the run is served by its id."""
    name, experiment_id = create_empty_experiment(mlflow_server)
    run = create_plain_run(mlflow_server, experiment_id)
    older, newer = (create_logged_model(mlflow_server, experiment_id, run_id=run["run_id"]) for _ in "ab")
    numbered = (await writable_catalog.resolve(ModelRef(name, Number(1)))).version
    assert numbered.model_id == newer["model_id"]

    async def key(selector: ModelId | RunId) -> object:
        return (await writable_catalog.resolve(ModelRef(name, selector))).version.key

    assert await key(ModelId(newer["model_id"])) == await key(RunId(run["run_id"])) == numbered.key
    other = (await writable_catalog.resolve(ModelRef(name, ModelId(older["model_id"])))).version
    assert (other.version, other.run_id) == (older["model_id"], run["run_id"])
    assert (await writable_catalog.get_model(name)).without_run == ()
    mlflow_server.call("runs/delete", {"run_id": run["run_id"]})
    for selector in (ModelId(newer["model_id"]), ModelId(older["model_id"]), RunId(run["run_id"])):
        with pytest.raises(VersionNotServable, match="deleted run"):
            await writable_catalog.resolve(ModelRef(name, selector))


@pytest.mark.parametrize("status", ["RUNNING", "FAILED"])
async def test_a_model_of_an_unfinished_run(
    writable_catalog: Catalog, mlflow_server: MlflowServer, status: str
) -> None:
    """A checkpoint is served by its own id, but not by its run's id or number."""
    name, experiment_id = create_empty_experiment(mlflow_server)
    run = create_plain_run(mlflow_server, experiment_id, status=status)
    model = create_logged_model(mlflow_server, experiment_id, run_id=run["run_id"])
    found = (await writable_catalog.resolve(ModelRef(name, ModelId(model["model_id"])))).version
    assert (found.version, found.status) == (model["model_id"], "READY")
    for selector in (RunId(run["run_id"]), Number(1)):
        with pytest.raises(VersionNotServable, match=f"its status is {status}"):
            await writable_catalog.resolve(ModelRef(name, selector))


async def test_an_id_must_belong_to_the_name(writable_catalog: Catalog, mlflow_server: MlflowServer) -> None:
    """The id of another experiment's run or model is not found, nor is one that does not exist."""
    name, (run_id,) = create_experiment(mlflow_server, runs=1)
    other, experiment_id = create_empty_experiment(mlflow_server)
    model = create_logged_model(mlflow_server, experiment_id)
    registered = unique_name("model")
    mlflow_server.call("registered-models/create", {"name": registered})
    create_model_version(mlflow_server, registered, model)
    strangers: list[tuple[str, ModelId | RunId]] = [
        (name, ModelId(model["model_id"])),
        (other, RunId(run_id)),
        (registered, RunId(run_id)),
        *((each, RunId("0" * 32)) for each in (name, other, registered)),
        *((each, ModelId("m-0123")) for each in (name, other, registered)),
        (registered, ModelId(create_logged_model(mlflow_server, experiment_id)["model_id"])),
    ]
    for each, selector in strangers:
        for call in (writable_catalog.resolve, writable_catalog.get_version):
            with pytest.raises(NotFound, match=" id"):
                await call(ModelRef(each, selector))


async def test_an_id_of_a_registered_version(catalog: Catalog, seeded: Seeded) -> None:
    """By model id or run id, the version is the same, also that of a copy or a version made from a run."""
    for number, run_id in enumerate(seeded.ids["wine"]["runs"], start=1):
        expected = (await catalog.resolve(ModelRef("wine", Number(number)))).version
        for selector in (RunId(run_id), ModelId(expected.model_id)):
            found = (await catalog.resolve(ModelRef("wine", selector))).version
            assert (found.key, found.version, found.aliases) == (
                expected.key,
                str(number),
                expected.aliases,
            )
        assert (await catalog.get_version(ModelRef("wine", RunId(run_id)))).metrics["rmse"]
    one, two = [(await catalog.resolve(ModelRef("wine", Number(each)))).version for each in (1, 2)]
    for name, model_id in (("copied", two.model_id), ("by-run", one.model_id)):
        assert (await catalog.resolve(ModelRef(name, ModelId(model_id)))).version.version == "1"
    with pytest.raises(NotFound):
        await catalog.resolve(ModelRef("copied", ModelId(one.model_id)))


async def test_the_newest_of_several_versions_of_a_model(
    writable_catalog: Catalog, mlflow_server: MlflowServer
) -> None:
    """A model can be registered twice under one name."""
    name = unique_name("model")
    mlflow_server.call("registered-models/create", {"name": name})
    model = create_logged_model(mlflow_server, create_empty_experiment(mlflow_server)[1])
    for _ in range(2):
        create_model_version(mlflow_server, name, model)
    found = await writable_catalog.resolve(ModelRef(name, ModelId(model["model_id"])))
    assert found.version.version == "2"


async def test_ids_reach_the_runs_of_a_huge_experiment(mlflow_server: MlflowServer) -> None:
    """Such runs have no numbers, so that their ids are their versions."""
    name, (run_id, _) = create_experiment(mlflow_server, runs=2)
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": mlflow_server.url}).mlflow) as client:
        readers = Readers(RunReader(client, max_runs=1), MetricReader(client), RunFolders(client))
        source = await find_source(client, name, readers=readers, kinds=("registry", "experiments"))
        version = await source.get_by_id(RunId(run_id))
        await readers.runs.close()
    assert (version.version, version.run_id, version.status) == (run_id, run_id, "READY")


async def test_a_server_without_logged_models(proxy: FaultyProxy, seeded: Seeded) -> None:
    """As on MLflow 2: no model has such an id, runs have theirs, and nothing else changes."""
    proxy.unknown = "logged-models"
    async with opened(proxy.url) as catalog:
        for name in ("forest", "wine"):
            with pytest.raises(NotFound, match="this id"):
                await catalog.resolve(ModelRef(name, ModelId("m-0123")))
        run_id = seeded.ids["forest"]["runs"][0]
        assert (await catalog.resolve(ModelRef("forest", RunId(run_id)))).version.version == "1"
        assert (await catalog.get_model("forest")).without_run == ()
        with pytest.raises(NotFound, match=r"has no version\.$"):
            await catalog.resolve(ModelRef("without-runs", Latest()))
        page = await catalog.list_models(max_results=100, page_token=None, name_contains="without")
        assert page.models == ()
