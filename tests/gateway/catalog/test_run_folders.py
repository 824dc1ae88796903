"""Proves on a real MLflow server that a model among a run's artifacts is found, and at what cost."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.catalog.locations import resolve_uri
from gateway.catalog.run_folders import RunFolders
from gateway.domain.refs import Best, Latest, ModelRef, Number
from gateway.errors import BestMetricUndecided, UpstreamUnavailable, VersionNotServable
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from tests.gateway.catalog.conftest import opened
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.mlflow_records import (
    create_empty_experiment,
    create_experiment,
    create_plain_run,
    create_run,
    put_artifact,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.catalog import Catalog
    from tests.support.mlflow_server import MlflowServer

LISTING = "artifacts/list"


class Saved:
    """An experiment whose runs have files among their artifacts."""

    def __init__(self, server: MlflowServer) -> None:
        self._server = server
        self.name, self.experiment_id = create_empty_experiment(server)
        self._runs = 0

    def run(self, *paths: str, status: str = "FINISHED", **metrics: float) -> str:
        """Create a run with files at `paths`; return its id."""
        self._runs += 1
        info = create_plain_run(self._server, self.experiment_id, start=self._runs, status=status, **metrics)
        for path in paths:
            put_artifact(self._server, f"{info['artifact_uri']}/{path}")
        return str(info["run_id"])

    def known(self, **metrics: float) -> dict[str, Any]:
        """Create a run whose model MLflow knows."""
        self._runs += 1
        return create_run(self._server, self.experiment_id, start=self._runs, **metrics)

    def ref(self, selector: Number | Latest | Best) -> ModelRef:
        return ModelRef(self.name, selector)


@pytest.fixture
def saved(mlflow_server: MlflowServer) -> Saved:
    return Saved(mlflow_server)


@asynccontextmanager
async def counted(server: MlflowServer) -> AsyncIterator[tuple[FaultyProxy, Catalog]]:
    """Open a catalog without a cache of resolutions, behind a proxy that counts its calls."""
    async with (
        faulty_proxy(server.url) as proxy,
        opened(proxy.url, GATEWAY_CATALOG_TTL_SECONDS="0") as catalog,
    ):
        yield proxy, catalog


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["model/MLmodel"], "model"),
        (["a.txt", "other/x.txt", "models/best/MLmodel"], "models/best"),
        (["a/b/c/MLmodel"], "a/b/c"),
        (["a/MLmodel", "model/MLmodel"], "model"),
        (["b/MLmodel", "a/MLmodel"], "a"),
        (["a/model/MLmodel", "z/MLmodel"], "z"),
        (["model/MLmodel", "model/artifacts/inner/MLmodel"], "model"),
        (["MLmodel", "model/MLmodel"], ""),
        (["ä b/100%/MLmodel"], "ä b/100%"),
    ],
)
async def test_the_folder_nearest_to_the_root_counts(
    writable_catalog: Catalog, mlflow_server: MlflowServer, saved: Saved, paths: list[str], folder: str
) -> None:
    """At the same depth `model`, then the first by name; its files are where the version's URI leads."""
    saved.run(*paths)
    version = (await writable_catalog.resolve(saved.ref(Number(1)))).version
    assert (version.status, version.source) == ("READY", "experiment")
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": mlflow_server.url}).mlflow) as client:
        uri = await resolve_uri(client, version.uri)
        names = {entry.path for entry in await client.list_artifacts(uri.removeprefix("mlflow-artifacts:/"))}
    assert uri.endswith(f"/artifacts/{folder}".rstrip("/"))
    assert "MLmodel" in names


@pytest.mark.parametrize("paths", [[], ["MLmodel/x.txt"], ["a/b/c/d/MLmodel"], ["model/mlmodel"]])
async def test_no_model_among_the_artifacts(
    writable_catalog: Catalog, saved: Saved, paths: list[str]
) -> None:
    """A folder of that name, another name, and a file more than three folders deep do not count."""
    saved.run(*paths)
    with pytest.raises(VersionNotServable, match="has no model"):
        await writable_catalog.resolve(saved.ref(Number(1)))
    for selector in (Latest(), Best()):
        with pytest.raises(VersionNotServable, match=r"No version of .* is READY"):
            await writable_catalog.resolve(saved.ref(selector))


async def test_an_unfinished_run_is_not_ready(writable_catalog: Catalog, saved: Saved) -> None:
    """As if MLflow knew its model: its details can be read."""
    saved.run("model/MLmodel", status="RUNNING")
    saved.run("model/MLmodel", status="FAILED")
    for number, status in enumerate(("RUNNING", "FAILED"), start=1):
        with pytest.raises(VersionNotServable, match=f"its status is {status}"):
            await writable_catalog.resolve(saved.ref(Number(number)))
        assert (await writable_catalog.get_version(saved.ref(Number(number)))).uri
    with pytest.raises(VersionNotServable, match="No version"):
        await writable_catalog.resolve(saved.ref(Latest()))


async def test_the_key_never_changes(mlflow_server: MlflowServer, saved: Saved) -> None:
    """So a version is downloaded and loaded once, also after a restart."""
    saved.run("model/MLmodel")
    keys = set()
    for _ in range(2):
        async with opened(mlflow_server.url, GATEWAY_CATALOG_TTL_SECONDS="0") as catalog:
            for selector in (Number(1), Latest()):
                keys.add((await catalog.resolve(saved.ref(selector))).version.key)
    assert len(keys) == 1


async def test_a_search_is_bounded_and_happens_once(mlflow_server: MlflowServer, saved: Saved) -> None:
    """At most 20 folders are listed. The result is kept, also that there is none."""
    saved.run(*(f"{number:02}/x.txt" for number in range(40)), "zz/MLmodel")
    saved.run("model/MLmodel")
    async with counted(mlflow_server) as (proxy, catalog):
        for _ in range(3):
            with pytest.raises(VersionNotServable):
                await catalog.resolve(saved.ref(Number(1)))
        assert proxy.counted(LISTING) == 20
        for _ in range(3):
            await catalog.resolve(saved.ref(Number(2)))
        assert proxy.counted(LISTING) == 22


async def test_a_model_that_is_saved_later_is_found(mlflow_server: MlflowServer, saved: Saved) -> None:
    """That there is none is kept for a short time, and a found one for longer, even while MLflow is away."""
    run_id = saved.run()
    async with faulty_proxy(mlflow_server.url) as proxy:
        settings = load({"MLFLOW_TRACKING_URI": proxy.url})
        async with MlflowClient(settings.mlflow) as client:
            folders = RunFolders(client, absent_seconds=0, found_seconds=0)
            assert await folders.find(run_id) == ""
            put_artifact(
                mlflow_server, f"mlflow-artifacts:/{saved.experiment_id}/{run_id}/artifacts/m/MLmodel"
            )
            assert await folders.find(run_id) == folders.known(run_id) == f"runs:/{run_id}/m"
            proxy.fault = "away"
            assert await folders.find(run_id) == f"runs:/{run_id}/m"
            with pytest.raises(UpstreamUnavailable):
                await folders.find("0" * 32)
            proxy.fault = "500"
            assert await folders.find(run_id) == f"runs:/{run_id}/m"
            assert await folders.find("0" * 32) == ""
            await folders.close()


async def test_latest_and_best_find_saved_models(mlflow_server: MlflowServer, saved: Saved) -> None:
    """Of runs with and without a model; each costs a few calls."""
    saved.run("model/MLmodel", rmse=0.1)
    saved.run(rmse=0.05)
    saved.run("model/MLmodel", rmse=0.3)
    for _ in range(5):
        saved.run()
    async with counted(mlflow_server) as (proxy, catalog):
        assert (await catalog.resolve(saved.ref(Latest()))).version.version == "3"
        assert proxy.counted(LISTING) == 5 + 2
        resolution = await catalog.resolve(saved.ref(Best("rmse")))
        assert resolution.best is not None
        assert (resolution.version.version, resolution.best.value) == ("1", 0.1)
        assert proxy.counted(LISTING) == 5 + 2 + 1 + 2
        assert (await catalog.resolve(saved.ref(Best("rmse", "max")))).version.version == "3"
        details = await catalog.get_model(saved.name)
        assert proxy.counted(LISTING) == 5 + 2 + 1 + 2
        assert details.model.latest == "3"
        assert details.best is not None
        assert (details.best.version, details.best.metric) == ("1", "rmse")
        assert [version.status for version in details.versions][-3:] == ["READY", "FINISHED", "READY"]


async def test_a_known_model_wins_over_worse_saved_ones(mlflow_server: MlflowServer, saved: Saved) -> None:
    """Artifacts are listed only of runs that would be chosen if they had a model."""
    saved.run("model/MLmodel", rmse=0.9)
    saved.run("model/MLmodel", rmse=0.2)
    saved.known(rmse=0.5)
    async with counted(mlflow_server) as (proxy, catalog):
        assert (await catalog.resolve(saved.ref(Latest()))).version.version == "3"
        assert (await catalog.resolve(saved.ref(Best("rmse", "max")))).version.version == "1"
        assert proxy.counted(LISTING) == 2
        assert (await catalog.resolve(saved.ref(Best("rmse")))).version.version == "2"
        assert proxy.counted(LISTING) == 4


async def test_equal_values_of_known_and_saved_models(writable_catalog: Catalog, saved: Saved) -> None:
    """The newest wins, whichever it is."""
    saved.known(rmse=0.5)
    saved.run("model/MLmodel", rmse=0.5)
    assert (await writable_catalog.resolve(saved.ref(Best("rmse")))).version.version == "2"
    saved.known(rmse=0.5)
    assert (await writable_catalog.resolve(saved.ref(Best("rmse")))).version.version == "3"


async def test_an_undecided_best_of_saved_models(writable_catalog: Catalog, saved: Saved) -> None:
    """A READY version without the metric is another error than no READY version."""
    saved.run("model/MLmodel", speed=1.0)
    with pytest.raises(BestMetricUndecided):
        await writable_catalog.resolve(saved.ref(Best("rmse")))
    assert (await writable_catalog.resolve(saved.ref(Best("speed", "max")))).version.version == "1"


async def test_metrics_of_runs_without_a_model_decide_nothing(
    writable_catalog: Catalog, saved: Saved
) -> None:
    """The default metric is one of the known models, though rmse would come first."""
    saved.known(mae=0.5)
    saved.run(rmse=0.1, mae=0.1)
    assert (await writable_catalog.resolve(saved.ref(Best()))).version.version == "1"


async def test_many_runs_without_a_model_cost_twenty_listings(
    mlflow_server: MlflowServer, saved: Saved
) -> None:
    """Of the newest runs for latest, of those with the best values for best; then none for half a minute."""
    for number in range(24):
        saved.run(rmse=number)
    async with counted(mlflow_server) as (proxy, catalog):
        for selector in (Latest(), Best("rmse", "max"), Latest()):
            with pytest.raises(VersionNotServable, match="No version"):
                await catalog.resolve(saved.ref(selector))
            assert proxy.counted(LISTING) == 20


async def test_known_models_cost_no_listing(mlflow_server: MlflowServer) -> None:
    """Neither of a run, nor of latest, best, the details and the list."""
    name, _ = create_experiment(mlflow_server, runs=3)
    async with counted(mlflow_server) as (proxy, catalog):
        await catalog.resolve(ModelRef(name, Latest()))
        await catalog.resolve(ModelRef(name, Number(1)))
        await catalog.get_model(name)
        await catalog.list_models(max_results=10, page_token=None, name_contains=name)
        assert proxy.counted(LISTING) == 0


async def test_a_store_that_mlflow_cannot_list(mlflow_server: MlflowServer, saved: Saved) -> None:
    """Such a run has no model, as before, and latest is the newest known one."""
    saved.known()
    saved.run("model/MLmodel")
    async with counted(mlflow_server) as (proxy, catalog):
        proxy.refused = LISTING
        assert (await catalog.resolve(saved.ref(Latest()))).version.version == "1"
        with pytest.raises(VersionNotServable, match="has no model"):
            await catalog.resolve(saved.ref(Number(2)))
