"""Trains, saves and asks the models of one environment; a program of that environment.

    python training.py FOLDER DATE MODEL…

saves each model to FOLDER/MODEL as its MLflow does, with DATE as the day on which that happened, and prints
one line of JSON: what each model answers here to `ROWS`. It is run by the environment's own Python, 3.10
for some, and with its own libraries alone.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models.signature import infer_signature

COLUMNS = [f"c{number}" for number in range(6)]
ROWS = 5

warnings.simplefilter("ignore")  # libraries of that age warn of each other


def frame(rows: int) -> pd.DataFrame:
    """Return the same numbers everywhere: those with few decimals, which every parser reads alike."""
    values = [[(row * 37 + column * 61) % 101 / 8 for column in range(len(COLUMNS))] for row in range(rows)]
    return pd.DataFrame(values, columns=COLUMNS)


class Scaler(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined] # MLflow is untyped
    """A model of code alone: cloudpickle keeps this class, which no importable module has, as bytecode."""

    def load_context(self, context: Any) -> None:
        """Prepare what `predict` uses."""
        self.factor = 2.5

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # MLflow reads hints
        """Return the first column, scaled, and the minor version of Python that computed it."""
        return model_input["c0"].to_numpy() * self.factor + sys.version_info[1]


# A boosting regressor's pickle names private modules, which moved between scikit-learn's minor versions.
ESTIMATORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "boosted": ("sklearn", "sklearn.ensemble:GradientBoostingRegressor", {"random_state": 0}),
    "forest": ("sklearn", "sklearn.ensemble:RandomForestRegressor", {"random_state": 0}),
    "lightgbm": ("lightgbm", "lightgbm:LGBMRegressor", {"min_child_samples": 5, "n_jobs": 1, "verbose": -1}),
    "xgboost": ("xgboost", "xgboost:XGBRegressor", {"n_jobs": 1}),
}


def save(name: str, place: Path) -> None:
    """Train the model `name` and save it to `place` as MLflow does here."""
    inputs = frame(200)
    if name == "code":
        signature = infer_signature(inputs, np.zeros(1))
        mlflow.pyfunc.save_model(str(place), python_model=Scaler(), signature=signature)
        return
    flavor, place_of_class, options = ESTIMATORS[name]
    library, _, made = place_of_class.partition(":")
    model = getattr(importlib.import_module(library), made)(n_estimators=20, **options)
    model.fit(inputs, inputs.sum(axis=1))
    module = importlib.import_module(f"mlflow.{flavor}")
    signature = infer_signature(inputs, model.predict(inputs))
    # What MLflow did before it had a safer form, which refuses trees.
    form = {"serialization_format": "cloudpickle"} if flavor == "sklearn" else {}
    module.save_model(model, str(place), signature=signature, **form)


def date(place: Path, day: str) -> None:
    """Have the model say that it was saved on `day`: models of this age are."""
    lines = (place / "MLmodel").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("utc_time_created:")]
    (place / "MLmodel").write_text("\n".join([*kept, f"utc_time_created: '{day} 12:00:00.000000'", ""]))


def main() -> None:
    """Save every model, and say what each answers."""
    folder, day = Path(sys.argv[1]), sys.argv[2]
    answers = {}
    for name in sys.argv[3:]:
        save(name, folder / name)
        date(folder / name, day)
        predicted = np.asarray(mlflow.pyfunc.load_model(str(folder / name)).predict(frame(ROWS)))
        answers[name] = {"dtype": str(predicted.dtype), "values": predicted.tolist()}
    asked = frame(ROWS)
    rows = [[float(value) for value in row] for row in asked.to_numpy().tolist()]
    told = {
        "asked": [list(asked.columns), rows],
        "python": platform.python_version(),
        "mlflow": mlflow.__version__,
        "answers": answers,
    }
    print(json.dumps(told))  # noqa: T201 - the tests read it


if __name__ == "__main__":
    main()
