"""Proves on a real MLflow server that experiments are models whose versions are their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.domain.refs import Alias, Best, Latest, ModelRef, Number
from gateway.errors import NotFound, VersionNotServable
from tests.support.mlflow_records import create_experiment

if TYPE_CHECKING:
    from gateway.catalog import Catalog
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.mlflow_server import MlflowServer


def forest(number: int) -> ModelRef:
    return ModelRef("forest", Number(number))


async def test_runs_are_numbered_from_the_oldest(catalog: Catalog, seeded: Seeded) -> None:
    """Deleted runs, failed runs and runs without a model are numbered too."""
    details = await catalog.get_model("forest")
    assert details.model.source == "experiment"
    assert [version.version for version in details.versions] == ["6", "5", "4", "3", "2", "1"]
    assert [version.run_id for version in details.versions][::-1] == seeded.ids["forest"]["runs"]
    statuses = [version.status for version in details.versions][::-1]
    assert statuses == ["READY", "FINISHED", "DELETED", "READY", "READY", "FAILED"]
    assert details.model.latest == "5"
    assert details.best is not None
    assert (details.best.version, details.best.metric) == ("5", "accuracy")


async def test_latest_is_the_newest_finished_run_with_a_model(catalog: Catalog) -> None:
    """Run 6 is newer, but failed. MLflow 3 sets no mlflow.log-model.history tag, and none is needed."""
    version = (await catalog.resolve(ModelRef("forest", Latest()))).version
    assert (version.version, version.source) == ("5", "experiment")
    assert version.uri == f"models:/{version.model_id}"
    assert not any(tag.startswith("mlflow.") for tag in version.tags)


async def test_best_follows_the_requested_metric_and_order(catalog: Catalog) -> None:
    """Only runs that can be served are compared."""
    assert (await catalog.resolve(ModelRef("forest", Best("accuracy", "max")))).version.version == "5"
    assert (await catalog.resolve(ModelRef("forest", Best("accuracy", "min")))).version.version == "1"
    assert (await catalog.resolve(ModelRef("forest", Best()))).version.version == "5"


@pytest.mark.parametrize(
    ("number", "text"),
    [(2, "has no model"), (3, "is a deleted run"), (6, "not READY: its status is FAILED")],
)
async def test_a_run_that_cannot_be_served_says_why(catalog: Catalog, number: int, text: str) -> None:
    """Its details can be read all the same."""
    with pytest.raises(VersionNotServable, match=text):
        await catalog.resolve(forest(number))
    assert (await catalog.get_version(forest(number))).version == str(number)


async def test_the_newest_of_several_models_in_a_run_is_served(catalog: Catalog, seeded: Seeded) -> None:
    """Run 4 logged `second` after `model`."""
    version = (await catalog.resolve(forest(4))).version
    experiment_id = await _experiment_id(catalog, version.run_id)
    body = {"experiment_ids": [experiment_id], "filter": "name = 'second'"}
    second = seeded.server.call("logged-models/search", body)["models"]
    assert [version.model_id] == [model["info"]["model_id"] for model in second]
    assert (await catalog.get_version(forest(4))).model_id == version.model_id


async def _experiment_id(catalog: Catalog, run_id: str) -> str:
    run = await catalog.get_run(run_id)
    assert run is not None
    return run.experiment_id


async def test_numbers_stay_when_a_run_is_deleted(
    writable_catalog: Catalog, mlflow_server: MlflowServer
) -> None:
    """Deleting run 1 changes no other run's number, and restoring it makes it available again."""
    name, run_ids = create_experiment(mlflow_server, runs=3)
    first, last = ModelRef(name, Number(1)), ModelRef(name, Number(3))
    before = (await writable_catalog.resolve(last)).version
    assert before.run_id == run_ids[2]
    mlflow_server.call("runs/delete", {"run_id": run_ids[0]})
    assert (await writable_catalog.resolve(last)).version.key == before.key
    with pytest.raises(VersionNotServable, match="deleted"):
        await writable_catalog.resolve(first)
    mlflow_server.call("runs/restore", {"run_id": run_ids[0]})
    assert (await writable_catalog.resolve(first)).version.run_id == run_ids[0]


async def test_a_registered_model_takes_precedence(catalog: Catalog) -> None:
    """There is an experiment `wine` too; a name with `/` or `:` can only be that of an experiment."""
    assert (await catalog.resolve(ModelRef("wine", Latest()))).version.source == "registry"
    nested = (await catalog.resolve(ModelRef("forest/nested: odd", Latest()))).version
    assert (nested.source, nested.version) == ("experiment", "1")


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        (forest(7), "no version 7"),
        (ModelRef("forest", Alias("champion")), "no alias"),
        (ModelRef("without-runs", Latest()), "has no version"),
        (ModelRef("without-runs", Best()), "has no version"),
    ],
)
async def test_a_missing_version_is_not_found(catalog: Catalog, ref: ModelRef, text: str) -> None:
    """An experiment without runs has no version, and no experiment has aliases."""
    with pytest.raises(NotFound, match=text):
        await catalog.resolve(ref)
