"""Register `console-waits`, whose load lasts until a file exists. A script, as register_models is."""

from __future__ import annotations

import sys

import mlflow

from tests.support import models

NAME = "console-waits"


def main() -> None:
    """Register it; the argument is the path of the file."""
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="model",
            python_model=models.WaitsAtLoad(sys.argv[1]),
            pip_requirements=["mlflow"],
            registered_model_name=NAME,
        )


if __name__ == "__main__":
    main()
    print("null")  # noqa: T201 - the test reads it
