"""The few models that the soak's thirty are made of; run as a script it logs them to an MLflow server."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["plane", "commands"]
Row = tuple[float, float]

FACTORS = (2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0)
LINES = ((2.0, 3.0, 1.0), (5.0, -1.0, 4.0))


@dataclass(frozen=True, slots=True)
class Artifact:
    """A logged model: where it is, and what it answers.

    A `plane` answers p·a + q·b + c with `weights` p, q and c, so that an answer tells which model gave it;
    `commands` follows the commands in its input.
    """

    label: str
    kind: Kind
    weights: tuple[float, float, float]
    rmse: float
    source: str
    model_id: str
    run_id: str

    def answers(self, rows: Sequence[Row]) -> list[float]:
        """What a plane answers for these rows."""
        p, q, c = self.weights
        return [p * a + q * b + c for a, b in rows]


def parsed(documents: list[dict[str, Any]]) -> list[Artifact]:
    """What the script printed."""
    return [Artifact(**(document | {"weights": tuple(document["weights"])})) for document in documents]


def main() -> None:
    """Log every model; print them as JSON."""
    import mlflow  # noqa: PLC0415 - the soak's own process does without its weight

    mlflow.set_experiment("soak")
    made = [_sums(factor) for factor in FACTORS]
    made += [_line(weights, n) for n, weights in enumerate(LINES, 1)]
    made.append(_commands())
    print(json.dumps([asdict(artifact) for artifact in made]))  # noqa: T201 - the soak reads it


def _sums(factor: float) -> Artifact:
    import mlflow.pyfunc  # noqa: PLC0415 - as above

    from tests.support import models  # noqa: PLC0415 - as above

    with mlflow.start_run() as run:
        mlflow.log_metric("rmse", 1 / factor)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=models.Sums(factor),
            signature=models.NUMBERS,
            pip_requirements=["mlflow"],
        )
    weights = (factor, factor, 0.0)
    return _of(f"sums-{factor:g}", "plane", weights, rmse=1 / factor, logged=logged, run=run)


def _line(weights: tuple[float, float, float], number: int) -> Artifact:
    import mlflow.sklearn  # noqa: PLC0415 - as above
    import numpy as np  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above
    from mlflow.models import infer_signature  # noqa: PLC0415 - as above
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415 - as above

    p, q, c = weights
    frame = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) ** 2 % 7})
    estimator = LinearRegression().fit(frame, p * frame["a"] + q * frame["b"] + c)
    with mlflow.start_run() as run:
        mlflow.log_metric("rmse", 0.5)
        logged = mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=infer_signature(frame, estimator.predict(frame)),
            input_example=frame.head(3),
            pip_requirements=["mlflow", "scikit-learn"],
            serialization_format="cloudpickle",
        )
    return _of(f"line-{number}", "plane", weights, rmse=0.5, logged=logged, run=run)


def _commands() -> Artifact:
    import mlflow.pyfunc  # noqa: PLC0415 - as above

    from tests.support import models  # noqa: PLC0415 - as above

    with mlflow.start_run() as run:
        mlflow.log_metric("rmse", 0.5)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=models.Commands(),
            signature=models.COMMANDS,
            pip_requirements=["mlflow"],
        )
    return _of("commands", "commands", (0.0, 0.0, 0.0), rmse=0.5, logged=logged, run=run)


def _of(
    label: str, kind: Kind, weights: tuple[float, float, float], *, rmse: float, logged: Any, run: Any
) -> Artifact:
    model_id = logged.model_id
    return Artifact(label, kind, weights, rmse, f"models:/{model_id}", model_id, run.info.run_id)


if __name__ == "__main__":
    main()
