"""Decoding of a JSON body to the DataFrame that the model gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlflow
import orjson
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import ElasticNet

from benchmarks.bodies import Body
from workers.codec import formats
from workers.codec.signature import InputSpec
from workers.protocol.messages import JSON, OPEN_INFERENCE, Job

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.bodies import Form

MEDIA_TYPES: dict[Form, str] = {"mlflow": JSON, "v2": OPEN_INFERENCE}


@pytest.fixture(scope="module")
def wine() -> tuple[pd.DataFrame, pd.Series]:
    """Return the features and the target."""
    features, target = load_wine(return_X_y=True, as_frame=True)
    return features, target


@pytest.fixture(scope="module")
def spec(wine: tuple[pd.DataFrame, pd.Series], tmp_path_factory: pytest.TempPathFactory) -> InputSpec:
    """Return the input spec of a model that MLflow saved and loaded."""
    features, target = wine
    model = ElasticNet(alpha=0.1).fit(features, target)
    folder: Path = tmp_path_factory.mktemp("model") / "wine"
    signature = mlflow.models.infer_signature(features, model.predict(features))
    mlflow.sklearn.save_model(model, folder, signature=signature, pip_requirements=["scikit-learn"])
    return InputSpec.from_model(mlflow.pyfunc.load_model(str(folder)).metadata, input_checks="strict")


@pytest.mark.parametrize("rows", [1, 1_000])
@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_decode(
    benchmark: BenchmarkFixture,
    spec: InputSpec,
    wine: tuple[pd.DataFrame, pd.Series],
    rows: int,
    form: Form,
) -> None:
    """A body becomes a frame with the same number of rows."""
    features, _ = wine
    split = orjson.loads(features.to_json(orient="split", index=False))
    body = Body.of(split["columns"], split["data"], rows=rows)
    request = benchmark(formats.decode, Job(body.forms[form], MEDIA_TYPES[form]), spec)
    assert request.data.shape == (rows, 13)
