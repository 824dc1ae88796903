"""Trains the zoo and registers it on an MLflow server; a program, so that no test imports its libraries.

    python -m tests.zoo.registering ARTIFACTS

prints one line of JSON: where each model's files lie below the server's folder ARTIFACTS, and which
models cannot be made here and why.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import mlflow

from tests.zoo.making import answering_models, library_models, sklearn_models, typed_models
from tests.zoo.probes import ENTRIES
from tests.zoo.probes.answers import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.zoo.making.made import Made

MAKERS: dict[str, Callable[[], Made]] = {
    **sklearn_models.MAKERS,
    **library_models.MAKERS,
    **typed_models.MAKERS,
    **answering_models.MAKERS,
}


def main() -> None:
    """Register every model of the zoo that can be made here."""
    assert {entry.model for entry in ENTRIES} == set(MAKERS), "models and probes do not belong together"
    assert set(answering_models.answers()) == set(NAMES), "answers and probes do not belong together"
    mlflow.set_experiment("zoo")
    places: dict[str, str] = {}
    absent: dict[str, str] = {}
    for entry in ENTRIES:
        if reason := _lacking(entry.needs):
            absent[entry.model] = reason
            continue
        uri = register(entry.model, MAKERS[entry.model]())
        places[entry.model] = f"{sys.argv[1]}/{uri.removeprefix('mlflow-artifacts:').lstrip('/')}"
    print(json.dumps({"places": places, "absent": absent}))  # noqa: T201 - the tests read it


def register(name: str, made: Made) -> str:
    """Log the model in MLflow's form and register it; gives the location of its files."""
    flavor: Any = importlib.import_module(f"mlflow.{made.flavor}")
    # Each flavor has its own name for the model, and has it first; but for this one.
    first, named = ((), {"python_model": made.model}) if made.flavor == "pyfunc" else ((made.model,), {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of input examples that were not given
        info = flavor.log_model(
            *first,
            name="model",
            signature=made.signature,
            pip_requirements=["mlflow"],
            registered_model_name=name,
            **named,
            **made.options,
        )
    return str(info.artifact_path)


def _lacking(package: str) -> str:
    """Why `package` cannot be used here; empty where it can, or where none is needed."""
    if not package:
        return ""
    try:
        importlib.import_module(package)
    except ImportError as error:
        return f"{package} cannot be imported here: {error}"
    return ""


if __name__ == "__main__":
    main()
