"""Proves on a real MLflow server how references to registered models are resolved."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.domain.models import BestChoice
from gateway.domain.refs import Alias, Best, Latest, ModelRef, Number
from gateway.errors import BestMetricUndecided, NotFound, VersionNotServable
from tests.support.mlflow_records import create_model, create_run, create_version, unique_name

if TYPE_CHECKING:
    from gateway.catalog import Catalog
    from gateway.domain.refs import Selector
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.mlflow_server import MlflowServer

ODD_NAMES = ["it's 100% a_b", "both ' and \"", "back\\slash", "Äpfel & Birnen"]


def wine(selector: Selector) -> ModelRef:
    return ModelRef("wine", selector)


@pytest.mark.parametrize(
    ("selector", "version"),
    [
        (Number(1), "1"),
        (Latest(), "3"),
        (Alias("champion"), "2"),
        (Alias("5"), "1"),
        (Best("rmse", "min"), "2"),
        (Best("rmse", "max"), "1"),
        (Best("r2"), "2"),
    ],
)
async def test_every_selector_finds_its_version(catalog: Catalog, selector: Selector, version: str) -> None:
    """A number, latest, an alias (even one that looks like a number), best by metric and order."""
    resolution = await catalog.resolve(wine(selector))
    assert (resolution.version.version, resolution.version.source) == (version, "registry")
    assert not resolution.stale


async def test_best_reports_the_metric_that_decided(catalog: Catalog) -> None:
    """Without a metric in the request, rmse is the first well-known one; the result has its value."""
    resolution = await catalog.resolve(wine(Best()))
    assert resolution.best == BestChoice("2", "rmse", 0.5, "min")
    assert (await catalog.resolve(wine(Number(1)))).best is None


async def test_best_by_an_unknown_metric_names_the_available_ones(catalog: Catalog) -> None:
    """The client can correct its request from the message."""
    with pytest.raises(BestMetricUndecided, match="Available: r2, rmse"):
        await catalog.resolve(wine(Best("speed", "max")))


async def test_a_version_is_complete(catalog: Catalog, seeded: Seeded) -> None:
    """With aliases, tags, run and metrics, even one logged after the model, which MLflow does not link."""
    version = await catalog.get_version(wine(Number(2)))
    assert version.aliases == ("champion",)
    assert version.metrics == pytest.approx({"rmse": 0.5, "r2": 0.5})
    assert version.run_id == seeded.ids["wine"]["runs"][1]
    assert version.model_id.startswith("m-")
    assert version.uri == f"models:/{version.model_id}"
    assert version.status == "READY"
    assert version.created is not None
    assert version.created.utcoffset() is not None
    assert (await catalog.get_version(wine(Number(3)))).tags["gateway.batching"] == "off"
    assert (await catalog.get_version(wine(Best("rmse")))).version == "2"
    assert (await catalog.get_version(wine(Alias("champion")))).version == "2"
    assert (await catalog.get_version(wine(Latest()))).version == "3"


async def test_a_model_lists_its_versions_newest_first(catalog: Catalog) -> None:
    """With each version's metrics and aliases, and the numbers of latest and best."""
    details = await catalog.get_model("wine")
    assert [version.version for version in details.versions] == ["3", "2", "1"]
    assert [version.metrics["rmse"] for version in details.versions] == [0.7, 0.5, 0.9]
    assert [version.aliases for version in details.versions] == [(), ("champion",), ("5",)]
    assert (details.model.latest, details.model.description) == ("3", "red and white")
    assert details.model.aliases == {"champion": "2", "5": "1"}
    assert details.model.tags == {"team": "cellar"}
    assert details.best == BestChoice("2", "rmse", 0.5, "min")


async def test_a_run_has_its_details(catalog: Catalog, seeded: Seeded) -> None:
    """Parameters, metrics and status of the run that produced a version; None for an unknown run."""
    run = await catalog.get_run(seeded.ids["wine"]["runs"][0])
    assert run is not None
    assert (run.params, run.status) == ({"alpha": "0.1"}, "FINISHED")
    assert run.metrics["rmse"] == 0.9
    assert await catalog.get_run("0" * 32) is None
    assert await catalog.get_run("") is None


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        (ModelRef("nothing", Latest()), "There is no model 'nothing'"),
        (wine(Number(4)), "no version 4"),
        (wine(Number(10**18 - 1)), "no version"),
        (wine(Number(10**40)), "no such version"),
        (wine(Number(0)), "no such version"),
        (wine(Alias("absent")), "no alias 'absent'"),
        (ModelRef("empty", Latest()), "has no version"),
        (ModelRef("empty", Best()), "has no version"),
        (ModelRef("deleted-experiment", Latest()), "There is no model"),
        (ModelRef("a/b:c", Number(1)), "There is no model"),
    ],
)
async def test_a_missing_model_version_or_alias_is_not_found(
    catalog: Catalog, ref: ModelRef, text: str
) -> None:
    """The message says which of them is missing."""
    with pytest.raises(NotFound, match=text):
        await catalog.resolve(ref)


@pytest.mark.parametrize("selector", [Number(1), Latest(), Best()])
async def test_a_prompt_is_rejected(catalog: Catalog, selector: Selector) -> None:
    """MLflow keeps prompts among the registered models; they have no files."""
    with pytest.raises(VersionNotServable, match="is a prompt, not a model"):
        await catalog.resolve(ModelRef("a-prompt", selector))


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_names_are_found(catalog: Catalog, name: str) -> None:
    """Even though MLflow's filters cannot escape quotes."""
    assert (await catalog.resolve(ModelRef(name, Latest()))).version.version == "2"
    assert len((await catalog.get_model(name)).versions) == 2


async def test_a_version_that_is_not_ready_is_not_served(
    writable_catalog: Catalog, mlflow_server: MlflowServer
) -> None:
    """`latest` skips it; its details can be read by its number, but it cannot be invoked."""
    catalog, name = writable_catalog, create_model(mlflow_server, versions=2)
    _set_pending(mlflow_server, name, "2")
    assert (await catalog.resolve(ModelRef(name, Latest()))).version.version == "1"
    assert (await catalog.get_version(ModelRef(name, Number(2)))).status == "PENDING_REGISTRATION"
    assert (await catalog.get_model(name)).model.latest == "1"
    with pytest.raises(VersionNotServable, match="not READY: its status is PENDING_REGISTRATION"):
        await catalog.resolve(ModelRef(name, Number(2)))
    page = await catalog.list_models(max_results=10, page_token=None, name_contains=name)
    assert [model.latest for model in page.models] == ["1"]
    _set_pending(mlflow_server, name, "1")
    for selector in (Latest(), Best()):
        with pytest.raises(VersionNotServable, match=f"No version of '{name}' is READY"):
            await catalog.resolve(ModelRef(name, selector))


def _set_pending(server: MlflowServer, name: str, version: str) -> None:
    """Set the status in the database, because MLflow's API only creates READY versions."""
    with sqlite3.connect(server.folder / "mlflow.db", timeout=60) as database:
        statement = "UPDATE model_versions SET status = 'PENDING_REGISTRATION' WHERE name = ? AND version = ?"
        assert database.execute(statement, (name, version)).rowcount == 1
    database.close()


async def test_a_recreated_model_is_another_model(
    writable_catalog: Catalog, mlflow_server: MlflowServer
) -> None:
    """MLflow numbers its versions from 1 again, even with the same source: the key must differ."""
    catalog, name, run = writable_catalog, unique_name("recreated"), create_run(mlflow_server, "0")
    keys = []
    for _ in range(2):
        mlflow_server.call("registered-models/create", {"name": name})
        create_version(mlflow_server, name, run)
        keys.append((await catalog.resolve(ModelRef(name, Number(1)))).version.key)
        assert (await catalog.resolve(ModelRef(name, Latest()))).version.key == keys[-1]
        mlflow_server.call("registered-models/delete", {"name": name}, method="DELETE")
    assert (keys[0].name, keys[0].version) == (keys[1].name, keys[1].version)
    assert keys[0] != keys[1]


async def test_a_long_name_is_shortened_in_the_message(catalog: Catalog) -> None:
    """The message quotes only its beginning."""
    with pytest.raises(NotFound) as caught:
        await catalog.resolve(ModelRef("x" * 5000, Latest()))
    assert "xxx…'" in str(caught.value)
    assert len(str(caught.value)) < 300
