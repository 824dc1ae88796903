"""The models that the other tests serve are what they are said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from tests.environments.made import MadeModel

EXPECTED = {
    "mlflow130-boosted": ("3.10", "1.30.0", "scikit-learn==1.1.3"),
    "mlflow130-forest": ("3.10", "1.30.0", "scikit-learn==1.1.3"),
    "mlflow219-boosted": ("3.10", "2.19.0", "scikit-learn==1.5.2"),
    "mlflow219-code": ("3.10", "2.19.0", "cloudpickle==3.1.0"),
    "boosting-lightgbm": ("3.11", "2.9.2", "lightgbm==3.3.5"),
    "boosting-xgboost": ("3.11", "2.9.2", "xgboost==1.7.6"),
}


def test_each_model_names_the_python_the_mlflow_and_the_library_of_its_own(
    made_models: dict[str, MadeModel],
) -> None:
    """Python, MLflow and requirements are those of the environment in which the model was trained."""
    for name, (python, mlflow, requirement) in EXPECTED.items():
        model = made_models[name]
        assert model.python.rpartition(".")[0] == python
        document = yaml.safe_load((model.folder / "MLmodel").read_text())
        assert (document["mlflow_version"], model.mlflow) == (mlflow, mlflow)
        assert requirement in (model.folder / "requirements.txt").read_text().split()
    assert made_models["today-boosted"].mlflow.startswith("3.")
