"""Models of other libraries than scikit-learn, in their own flavors."""

from __future__ import annotations

import lightgbm
import numpy as np
import pandas as pd
import statsmodels.api as sm
import xgboost
from mlflow.models import ModelSignature
from mlflow.types.schema import Schema, TensorSpec
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from tests.zoo.making.made import Made, columns

INPUTS = pd.DataFrame(np.random.default_rng(5).normal(size=(60, 3)), columns=["a", "b", "c"])
TARGETS = INPUTS["a"] * 2 - INPUTS["b"]
DOUBLES = ModelSignature(columns(a="double", b="double", c="double"))
NARROW = ModelSignature(columns(a="float", b="float", c="float"))
ARRAY = TensorSpec(np.dtype(np.float32), (-1, 3))


def xgb_regressor() -> Made:
    """xgboost behind scikit-learn's interface: 32 bit floats."""
    model = xgboost.XGBRegressor(n_estimators=5, max_depth=2, n_jobs=1).fit(INPUTS, TARGETS)
    return Made("xgboost", model, DOUBLES)


def xgb_booster() -> Made:
    """xgboost's own booster; MLflow makes its matrix."""
    data = xgboost.DMatrix(INPUTS, label=TARGETS)
    return Made("xgboost", xgboost.train({"max_depth": 2, "nthread": 1}, data, num_boost_round=5), DOUBLES)


def lgb_classifier() -> Made:
    """LightGBM behind scikit-learn's interface."""
    model = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=2, n_jobs=1, verbose=-1)
    return Made("lightgbm", model.fit(INPUTS, TARGETS > 0), DOUBLES)


def lgb_booster() -> Made:
    """LightGBM's own booster, on 32 bit floats."""
    options = {"objective": "regression", "min_data_in_leaf": 2, "num_threads": 1, "verbose": -1}
    return Made("lightgbm", lightgbm.train(options, lightgbm.Dataset(INPUTS, TARGETS), 5), NARROW)


def ols() -> Made:
    """Ordinary least squares by statsmodels: a Series with the frame's index."""
    return Made("statsmodels", sm.OLS(TARGETS + 0.1 * INPUTS["c"], INPUTS).fit(), DOUBLES)


def onnx() -> Made:
    """A regression as an ONNX graph: an object of arrays."""
    narrow = INPUTS.to_numpy(np.float32)
    model = to_onnx(LinearRegression().fit(narrow, TARGETS), narrow[:1], target_opset=18)
    return Made("onnx", model, ModelSignature(Schema([TensorSpec(ARRAY.type, ARRAY.shape, "X")])))


def torch() -> Made:
    """A layer with fixed weights by PyTorch."""
    from torch import nn, tensor  # noqa: PLC0415 - the one library that may be absent

    layer = nn.Linear(3, 2)
    layer.load_state_dict(
        {"weight": tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]]), "bias": tensor([0.25, -1.0])}
    )
    return Made("pytorch", layer, ModelSignature(Schema([ARRAY])), {"serialization_format": "pickle"})


MAKERS = {
    "xgb-regressor": xgb_regressor,
    "xgb-booster": xgb_booster,
    "lgb-classifier": lgb_classifier,
    "lgb-booster": lgb_booster,
    "sm-ols": ols,
    "onnx-regression": onnx,
    "torch-layer": torch,
}
