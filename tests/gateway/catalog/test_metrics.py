"""Proves on a real MLflow server which of a metric's values counts, and that NaN never wins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from gateway.domain.refs import Best, ModelId, ModelRef, Number
from gateway.errors import BestMetricUndecided
from tests.gateway.catalog.conftest import opened
from tests.support.faulty_proxy import faulty_proxy
from tests.support.mlflow_records import (
    create_empty_experiment,
    create_logged_model,
    create_model_version,
    create_plain_run,
    log_metric,
    unique_name,
)

if TYPE_CHECKING:
    from gateway.catalog import Catalog
    from tests.support.mlflow_server import MlflowServer

RMSE = Best("rmse")


class Registry:
    """A registered model, each of whose versions is the logged model of a run."""

    def __init__(self, server: MlflowServer) -> None:
        self._server = server
        self._runs = 0
        self.name = unique_name("metrics")
        self.experiment, self.experiment_id = create_empty_experiment(server)
        server.call("registered-models/create", {"name": self.name})

    def run(self) -> str:
        """Create a run; return its id."""
        self._runs += 1
        return str(create_plain_run(self._server, self.experiment_id, start=self._runs)["run_id"])

    def version(self, run_id: str) -> dict[str, Any]:
        """Create a version of the model, with a logged model of the run; return the record of that."""
        model = create_logged_model(self._server, self.experiment_id, run_id=run_id)
        create_model_version(self._server, self.name, model)
        return model

    def log(self, run_id: str, value: float, model: dict[str, Any] | None = None, **point: int) -> None:
        """Log `rmse` to the run, and to the logged model if there is one."""
        model_id = None if model is None else model["model_id"]
        log_metric(self._server, run_id, "rmse", value, model_id=model_id, **point)


@pytest.fixture
def registry(mlflow_server: MlflowServer) -> Registry:
    return Registry(mlflow_server)


@pytest.mark.parametrize("worthless", [math.nan, math.inf, -math.inf])
async def test_a_diverged_version_never_wins(
    writable_catalog: Catalog, registry: Registry, worthless: float
) -> None:
    """A logged model has 0.0 for NaN and the largest double for infinity; the run of NaN still has NaN."""
    good, diverged = registry.run(), registry.run()
    registry.log(good, 0.5, registry.version(good))
    registry.log(diverged, worthless, registry.version(diverged))
    for order in ("min", "max"):
        resolution = await writable_catalog.resolve(ModelRef(registry.name, Best("rmse", order)))
        assert (resolution.version.version, resolution.best and resolution.best.value) == ("1", 0.5)
    details = await writable_catalog.get_model(registry.name)
    assert details.best is not None
    assert details.best.version == "1"
    shown = (await writable_catalog.get_version(ModelRef(registry.name, Number(2)))).metrics["rmse"]
    assert details.versions[0].metrics["rmse"] == pytest.approx(shown, nan_ok=True)
    assert math.isnan(shown) == math.isnan(worthless)


async def test_a_true_zero_wins(writable_catalog: Catalog, registry: Registry) -> None:
    """Its run says 0.0 as well."""
    one, perfect = registry.run(), registry.run()
    registry.log(one, 0.5, registry.version(one))
    registry.log(perfect, 0.0, registry.version(perfect))
    assert (await writable_catalog.resolve(ModelRef(registry.name, RMSE))).version.version == "2"


async def test_the_only_value_is_nan(writable_catalog: Catalog, registry: Registry) -> None:
    """Then there is no best version."""
    run = registry.run()
    registry.log(run, math.nan, registry.version(run))
    with pytest.raises(BestMetricUndecided, match="No READY version has"):
        await writable_catalog.resolve(ModelRef(registry.name, RMSE))


async def test_nan_of_a_checkpoint_is_found_in_the_history(
    writable_catalog: Catalog, registry: Registry
) -> None:
    """The run logged another value since, for its next model; that history also tells a true zero."""
    run = registry.run()
    for step, value in enumerate((math.nan, 0.0, 0.5), start=1):
        registry.log(run, value, registry.version(run), at=step, step=step)
    details = await writable_catalog.get_model(registry.name)
    assert [version.metrics["rmse"] for version in details.versions] == pytest.approx(
        [0.5, 0.0, math.nan], nan_ok=True
    )
    assert (await writable_catalog.resolve(ModelRef(registry.name, RMSE))).version.version == "2"


async def test_a_metric_that_another_run_logged(writable_catalog: Catalog, registry: Registry) -> None:
    """An evaluation logs to models of other runs; its own run has the NaN."""
    first, second, evaluation = registry.run(), registry.run(), registry.run()
    one, two = registry.version(first), registry.version(second)
    registry.log(evaluation, math.nan, one, at=1)
    registry.log(evaluation, 0.5, two, at=2)
    assert (await writable_catalog.resolve(ModelRef(registry.name, RMSE))).version.version == "2"
    model = await writable_catalog.get_version(ModelRef(registry.experiment, ModelId(one["model_id"])))
    assert model.version == "1"  # the run itself has no such metric


async def test_a_history_is_read_once(mlflow_server: MlflowServer, registry: Registry) -> None:
    """A logged value never changes; the bulk search of runs finds most values without any history."""
    run = registry.run()
    for step in range(1, 5):
        registry.log(run, math.nan if step < 3 else 0.5, registry.version(run), at=step, step=step)
    async with (
        faulty_proxy(mlflow_server.url) as proxy,
        opened(proxy.url, GATEWAY_CATALOG_TTL_SECONDS="0") as catalog,
    ):
        for _ in range(3):
            assert (await catalog.resolve(ModelRef(registry.name, RMSE))).version.version == "4"
        assert proxy.counted("metrics/get-history") == 1


async def test_many_zeros_cost_a_few_calls(mlflow_server: MlflowServer, registry: Registry) -> None:
    """Eleven diverged versions cost no call each."""
    for number in range(12):
        run = registry.run()
        registry.log(run, 0.5 if number == 7 else math.nan, registry.version(run))
    async with faulty_proxy(mlflow_server.url) as proxy, opened(proxy.url) as catalog:
        assert (await catalog.resolve(ModelRef(registry.name, RMSE))).version.version == "8"
        assert len(proxy.calls) <= 14


async def test_the_newest_value_counts(writable_catalog: Catalog, registry: Registry) -> None:
    """A value that was logged to the run after the model, and one logged to the model after the run."""
    one, two = registry.run(), registry.run()
    registry.log(one, 0.9, registry.version(one), at=10)
    registry.log(one, 0.1, at=20)
    model = registry.version(two)
    registry.log(two, 0.05, at=10)
    registry.log(one, 0.5, model, at=30, step=1)
    resolution = await writable_catalog.resolve(ModelRef(registry.name, RMSE))
    details = await writable_catalog.get_model(registry.name)
    assert [version.metrics["rmse"] for version in details.versions] == [0.5, 0.5]
    assert resolution.version.version == "2"
    assert resolution.version.metrics == {"rmse": 0.5}


@pytest.mark.parametrize(("run_step", "model_step", "value"), [(2, 1, 0.1), (1, 2, 0.9), (1, 1, 0.9)])
async def test_of_equal_times_the_greater_step_counts(
    writable_catalog: Catalog, registry: Registry, run_step: int, model_step: int, value: float
) -> None:
    """Of equal steps, the logged model's: it belongs to this version alone."""
    run, evaluation = registry.run(), registry.run()
    registry.log(run, 0.1, at=5, step=run_step)
    registry.log(evaluation, 0.9, registry.version(run), at=5, step=model_step)
    version = await writable_catalog.get_version(ModelRef(registry.name, Number(1)))
    assert version.metrics == {"rmse": value}


async def test_the_runs_last_value_is_that_of_its_greatest_step(
    writable_catalog: Catalog, registry: Registry
) -> None:
    """As MLflow shows it, even if an earlier step was logged later."""
    run = registry.run()
    registry.log(run, 0.3, at=5, step=10)
    registry.log(run, 0.7, at=6, step=1)
    registry.version(run)
    version = await writable_catalog.get_version(ModelRef(registry.name, Number(1)))
    assert version.metrics == {"rmse": 0.3}


async def test_a_shared_runs_later_value_belongs_to_no_model(
    writable_catalog: Catalog, registry: Registry
) -> None:
    """If the run has several models with metrics, a value of the run alone may be about any of them."""
    run = registry.run()
    registry.log(run, 0.9, registry.version(run), at=1)
    registry.log(run, 0.8, registry.version(run), at=2)
    registry.log(run, 0.1, at=3)
    details = await writable_catalog.get_model(registry.name)
    assert [version.metrics["rmse"] for version in details.versions] == [0.8, 0.9]
