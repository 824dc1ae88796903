"""Proves which versions' files count as their own, with records of a real MLflow server."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from gateway.catalog.ownership import is_below
from gateway.domain.refs import Latest, ModelId, ModelRef, Number, RunId
from gateway.errors import ArtifactLocationForbidden
from tests.gateway.catalog.conftest import opened
from tests.support.mlflow_records import (
    create_empty_experiment,
    create_logged_model,
    create_model_version,
    create_plain_run,
    create_run,
    unique_name,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.catalog import Catalog
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.faulty_proxy import FaultyProxy
    from tests.support.mlflow_server import MlflowServer

S3 = "s3://bucket/1/run/artifacts"
PROXY = "mlflow-artifacts:/1/run/artifacts"


@pytest.fixture
async def own(mlflow_server: MlflowServer) -> AsyncIterator[Catalog]:
    """A catalog that refuses files of others, of the server in which tests may create models."""
    async with opened(
        mlflow_server.url, GATEWAY_SOURCE_CHECK="own", GATEWAY_CATALOG_TTL_SECONDS="0"
    ) as catalog:
        yield catalog


async def locate(catalog: Catalog, name: str, selector: Any = None) -> str:
    """Return where the files of a version are."""
    ref = ModelRef(name, selector or Number(1))
    return await catalog.resolve_uri((await catalog.resolve(ref)).version)


def register(server: MlflowServer, source: str, *, run_id: str = "") -> str:
    """Register a model with this source, which other stores than the server's may accept; return its name."""
    name = unique_name("thief")
    server.call("registered-models/create", {"name": name})
    body = {"name": name, "source": "s3://bucket/key"} | ({"run_id": run_id} if run_id else {})
    server.call("model-versions/create", body)
    lead(server, name, source)
    return name


def lead(server: MlflowServer, name: str, source: str) -> None:
    """Change where the files of the model's versions are, as when it is deleted and registered again."""
    with closing(sqlite3.connect(server.folder / "mlflow.db", timeout=60)) as database, database:
        statement = "UPDATE model_versions SET source = ?, storage_location = ? WHERE name = ?"
        database.execute(statement, (source, source, name))


@pytest.mark.parametrize(
    ("uri", "root", "below"),
    [
        (f"{PROXY}/model", PROXY, True),
        (PROXY, PROXY, True),
        (f"{PROXY}/", f"{PROXY}/", True),
        (f"{PROXY}/a/b//c/", PROXY, True),
        (f"{PROXY}-2/model", PROXY, False),
        ("mlflow-artifacts:/1/run/artifact", PROXY, False),
        ("mlflow-artifacts:/1/run", PROXY, False),
        ("mlflow-artifacts:/1/RUN/artifacts/model", PROXY, False),
        ("mlflow-artifacts:/1/m-10/x", "mlflow-artifacts:/1/m-1", False),
        (f"{PROXY}/../../other/artifacts", PROXY, False),
        (f"{PROXY}/%2e%2e/%2e%2e/other", PROXY, False),
        (f"{PROXY}/%252e%252e/other", PROXY, False),
        (f"{PROXY}/..%2f..%2fother", PROXY, False),
        (f"{PROXY}/..%5c..%5cother", PROXY, False),
        (f"{PROXY}/./model", PROXY, False),
        (f"{PROXY}/a%00", PROXY, False),
        ("mlflow-artifacts:/1/r%75n/artifacts/model", PROXY, True),
        ("mlflow-artifacts://host:5000/1/run/artifacts/model", PROXY, True),
        ("MLFLOW-ARTIFACTS:/1/run/artifacts/model", PROXY, True),
        ("mlflow-artifacts:/other?/1/run/artifacts", PROXY, False),
        (f"{PROXY}/model?x#y", PROXY, True),
        (f"{S3}/model", S3, True),
        (f"{S3}/%2e%2e/x", S3, False),
        ("s3://bucket/1/r%75n/artifacts/model", S3, False),
        ("s3://Bucket/1/run/artifacts/model", S3, False),
        ("s3://bucket-2/1/run/artifacts/model", S3, False),
        ("s3://bucket/1/run/artifacts?x/model", S3, False),
        ("s3:/bucket/1/run/artifacts/model", S3, False),
        ("s3://bucket", "s3://bucket", False),
        ("gs://bucket/1/run/artifacts/model", S3, False),
        ("/srv/1/run/model", "file:///srv/1/run", True),
        ("file:/srv/1/run/a%20b", "/srv/1/run", True),
        ("file://localhost/srv/1/run/model", "/srv/1/run", True),
        ("file://host/srv/1/run/model", "/srv/1/run", False),
        ("/srv/1/run/../other", "/srv/1/run", False),
        ("/srv/1/running", "/srv/1/run", False),
        ("//srv//1/run/model", "/srv/1/run", True),
        ("gs://b/x/model", "gs://b/x", True),
        ("gs://b/x/model?generation=1", "gs://b/x", False),
        ("sftp://me@host/x/model", "sftp://host/x", False),
        ("http://[/x", "http://[/x", False),
        ("", "", False),
        (PROXY, "", False),
        ("/", "/", False),
    ],
)
def test_a_location_is_below_a_root(uri: str, root: str, *, below: bool) -> None:
    """Read as its store reads it: whole names, decoded where the store decodes, and no way out."""
    assert is_below(uri, root) is below


@pytest.mark.parametrize(
    ("name", "selector"),
    [
        *(("wine", Number(number)) for number in (1, 2, 3)),
        ("copied", Number(1)),
        ("by-run", Number(1)),
        ("by-run", Number(2)),
        ("it's 100% a_b", Number(2)),
        ("many-registered", Number(7)),
        *(("forest", Number(number)) for number in (1, 4, 5)),
        ("forest/nested: odd", Latest()),
        ("many", Latest()),
    ],
)
async def test_what_mlflows_client_makes_is_its_own(seeded: Seeded, name: str, selector: Any) -> None:
    """Logged and registered, copied, by a run's or a store's location, and runs of an experiment."""
    async with opened(seeded.server.url, GATEWAY_SOURCE_CHECK="own") as catalog:
        assert (await locate(catalog, name, selector)).startswith("mlflow-artifacts:/")


async def test_models_without_a_run_are_their_own(own: Catalog, mlflow_server: MlflowServer) -> None:
    """By the experiment's name, registered by their id, and registered by where their files are."""
    name, experiment_id = create_empty_experiment(mlflow_server)
    model = create_logged_model(mlflow_server, experiment_id)
    assert await locate(own, name, ModelId(model["model_id"])) == model["artifact_uri"]
    registered = unique_name("model")
    mlflow_server.call("registered-models/create", {"name": registered})
    create_model_version(mlflow_server, registered, model)
    body = {"name": registered, "source": model["artifact_uri"], "model_id": model["model_id"]}
    mlflow_server.call("model-versions/create", body)
    for number in (1, 2):
        assert await locate(own, registered, Number(number)) == model["artifact_uri"]
    with pytest.raises(ArtifactLocationForbidden):
        await locate(own, register(mlflow_server, model["artifact_uri"]))


@pytest.mark.parametrize(
    "source",
    [
        "{other}/model",
        "{own}-2/model",
        "{own}/../../{other_id}/artifacts/model",
        "{own}/%2e%2e/%2e%2e/{other_id}/artifacts/model",
        "mlflow-artifacts://127.0.0.1/{experiment}/{other_id}/artifacts/model",
        "runs:/{other_id}/model",
        "{model}",
        "s3://bucket/somewhere/else",
        "file:///srv/else",
    ],
)
async def test_files_of_others_are_refused(
    own: Catalog, mlflow_server: MlflowServer, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A version that names a run of its own; the error has no location, and the log has it."""
    victim, thief = [create_run(mlflow_server, "0") for _ in range(2)]
    model = create_logged_model(mlflow_server, "0", run_id=victim["run_id"], name="other")
    location = source.format(
        own=thief["artifact_uri"],
        other=victim["artifact_uri"],
        other_id=victim["run_id"],
        experiment="0",
        model=model["artifact_uri"],
    )
    name = register(mlflow_server, location, run_id=thief["run_id"])
    for _ in range(2):
        with pytest.raises(ArtifactLocationForbidden, match="GATEWAY_SOURCE_CHECK=own") as caught:
            await locate(own, name)
        assert victim["run_id"] not in str(caught.value)
    (line,) = [record for record in caplog.records if vars(record).get("event") == "foreign_location"]
    assert vars(line)["model"] == f"{name}/1"
    assert vars(line)["location"] in line.getMessage()


async def test_a_version_that_names_nothing_has_only_what_its_location_names(
    own: Catalog, mlflow_server: MlflowServer
) -> None:
    """MLflow 2 does not ask for a run; a bare place in a store has no owner."""
    run = create_run(mlflow_server, "0")
    by_run = register(mlflow_server, f"runs:/{run['run_id']}/model")
    assert await locate(own, by_run) == f"{run['artifact_uri']}/model"
    with pytest.raises(ArtifactLocationForbidden):
        await locate(own, register(mlflow_server, f"{run['artifact_uri']}/model"))
    assert await locate(own, register(mlflow_server, f"models:/{by_run}/1")) == f"{run['artifact_uri']}/model"


async def test_a_copy_is_as_right_as_what_it_copies(own: Catalog, mlflow_server: MlflowServer) -> None:
    """A copy of a refused version is refused too, however many copies lie between."""
    name = register(mlflow_server, "s3://bucket/else")
    for _ in range(2):
        name = register(mlflow_server, f"models:/{name}/1")
    with pytest.raises(ArtifactLocationForbidden):
        await locate(own, name)


async def test_a_run_cannot_adopt_a_model(
    own: Catalog, writable_catalog: Catalog, mlflow_server: MlflowServer
) -> None:
    """MLflow lets a run name any logged model as its output; one of the same experiment may be."""
    _, victims = create_empty_experiment(mlflow_server)
    name, experiment_id = create_empty_experiment(mlflow_server)
    for owner, allowed in ((victims, False), (experiment_id, True)):
        model = create_logged_model(mlflow_server, owner)
        run = create_plain_run(mlflow_server, experiment_id)
        outputs = {"run_id": run["run_id"], "models": [{"model_id": model["model_id"], "step": 0}]}
        mlflow_server.call("runs/outputs", outputs)
        assert await locate(writable_catalog, name, RunId(run["run_id"])) == model["artifact_uri"]
        if allowed:
            assert await locate(own, name, RunId(run["run_id"])) == model["artifact_uri"]
        else:
            with pytest.raises(ArtifactLocationForbidden):
                await locate(own, name, RunId(run["run_id"]))


@pytest.mark.parametrize("path", ["../../other/artifacts/model", "a/../../x", "%2e%2e/x", "a/..%2f..", ".."])
async def test_a_runs_tag_cannot_lead_out_of_it(
    writable_catalog: Catalog, mlflow_server: MlflowServer, path: str
) -> None:
    """Whatever the settings: MLflow does not look at the paths in that tag."""
    name, experiment_id = create_empty_experiment(mlflow_server)
    run = create_run(mlflow_server, experiment_id)
    value = json.dumps([{"artifact_path": path, "utc_time_created": "2024-01-01 00:00:00.000000"}])
    tag = {"run_id": run["run_id"], "key": "mlflow.log-model.history", "value": value}
    mlflow_server.call("runs/set-tag", tag)
    with pytest.raises(ArtifactLocationForbidden, match="leads out of the run"):
        await locate(writable_catalog, name, RunId(run["run_id"]))


async def test_an_experiment_cannot_claim_a_folder(own: Catalog, mlflow_server: MlflowServer) -> None:
    """A client chooses where the artifacts of a new experiment are: that makes nothing there its own."""
    victim = create_run(mlflow_server, "0")
    body = {"name": unique_name("thief"), "artifact_location": victim["artifact_uri"]}
    experiment_id = mlflow_server.call("experiments/create", body)["experiment_id"]
    run = create_run(mlflow_server, experiment_id)
    assert run["artifact_uri"].startswith(victim["artifact_uri"])
    name = register(mlflow_server, f"{victim['artifact_uri']}/model", run_id=run["run_id"])
    with pytest.raises(ArtifactLocationForbidden):
        await locate(own, name)


@pytest.mark.parametrize("mode", ["warn", "off"])
async def test_they_are_served_by_default(
    mlflow_server: MlflowServer, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`warn`, the default, tells the operator once; `off` says nothing. Neither shows a password."""
    name = register(mlflow_server, "sftp://me:secret@host/x")
    async with opened(
        mlflow_server.url, None, **({} if mode == "warn" else {"GATEWAY_SOURCE_CHECK": mode})
    ) as catalog:
        for _ in range(2):
            assert await locate(catalog, name) == "sftp://me:secret@host/x"
    assert caplog.text.count("sftp://me@host/x") == (mode == "warn")
    assert "secret" not in caplog.text


@pytest.mark.parametrize("mode", ["warn", "own"])
async def test_a_version_is_judged_once(seeded: Seeded, mode: str, proxy: FaultyProxy) -> None:
    """A second location of the same version costs only the calls that following it takes."""
    async with opened(proxy.url, None, GATEWAY_SOURCE_CHECK=mode) as catalog:
        version = (await catalog.resolve(ModelRef("many-registered", Number(7)))).version
        for expected in (1, 1):
            await catalog.resolve_uri(version)
            assert proxy.counted("runs/get") == expected


async def test_what_cannot_be_judged_is_served_by_default(seeded: Seeded, proxy: FaultyProxy) -> None:
    """The gateway's account may lack the right to read runs; `own` refuses then."""
    proxy.refused = "runs/get"
    for mode, allowed in (("warn", True), ("own", False)):
        async with opened(proxy.url, None, GATEWAY_SOURCE_CHECK=mode) as catalog:
            if allowed:
                await locate(catalog, "many-registered", Number(7))
            else:
                with pytest.raises(ArtifactLocationForbidden):
                    await locate(catalog, "many-registered", Number(7))


async def test_a_version_that_leads_elsewhere_later(own: Catalog, mlflow_server: MlflowServer) -> None:
    """What was found counts for the place: the version that its location names may be made anew."""
    run, other = [create_run(mlflow_server, "0") for _ in range(2)]
    named = register(mlflow_server, f"runs:/{run['run_id']}/model")
    copied = register(mlflow_server, f"models:/{named}/1")
    assert await locate(own, copied) == f"{run['artifact_uri']}/model"
    lead(mlflow_server, named, f"{other['artifact_uri']}/model")
    with pytest.raises(ArtifactLocationForbidden):
        await locate(own, copied)
