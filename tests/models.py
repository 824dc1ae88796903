"""Tiny real models, saved to folders: what the tests of the workers and of the whole gateway load."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow.pyfunc
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

if TYPE_CHECKING:
    from pathlib import Path

# The models travel by value: a worker need not be able to import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

NUMBERS = ModelSignature(inputs=Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.double, "b")]))


class Sums(mlflow.pyfunc.PythonModel):
    """Answers a + b, times a factor that tells one model from another."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return ((model_input["a"] + model_input["b"]) * self.factor).to_numpy()


class Echo(mlflow.pyfunc.PythonModel):
    """Answers its input."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return model_input


class Params(mlflow.pyfunc.PythonModel):
    """Answers its params."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return params


class Returns(mlflow.pyfunc.PythonModel):
    """Answers the same thing always."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return self.answer


class Commands(mlflow.pyfunc.PythonModel):
    """Does what the first cell of column `do` says; otherwise answers its process id."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        import os
        import signal
        import subprocess
        import time

        for command in model_input["do"]:
            verb, _, rest = str(command).partition(" ")
            if verb == "raise":
                raise ValueError(f"{rest} in /secret/path")
            if verb == "exit":
                raise SystemExit(3)
            if verb == "sleep":
                time.sleep(float(rest))
            if verb == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if verb == "die-once":
                try:
                    os.close(os.open(rest, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
            if verb == "spawn":
                return [subprocess.Popen(["sleep", "300"]).pid]
            if verb == "fork":
                child = os.fork()
                if child == 0:
                    time.sleep(300)
                    os._exit(0)
                return [child]
            if verb == "environ":
                return [dict(os.environ)]
        return [os.getpid()] * len(model_input)


class Broken(mlflow.pyfunc.PythonModel):
    """Fails to load: by an exception, a missing package, a hang or its process' death."""

    def __init__(self, how: str) -> None:
        self.how = how

    def load_context(self, context: Any) -> None:
        import os
        import time

        if self.how == "raise":
            raise RuntimeError("weights are at /secret/path")
        if self.how == "import":
            import a_package_that_nobody_has  # type: ignore[import-not-found] # noqa: F401 - the point
        if self.how == "hang":
            time.sleep(300)
        if self.how == "die":
            os._exit(9)
        if self.how.startswith("once "):
            try:
                os.close(os.open(self.how.removeprefix("once "), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            raise RuntimeError("not the first time")

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [1.0]


COMMANDS = ModelSignature(inputs=Schema([ColSpec(DataType.string, "do")]))


def save(folder: Path, model: mlflow.pyfunc.PythonModel, *, signature: ModelSignature | None = None) -> Path:
    """`folder`, with the model in MLflow's form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of input examples that were not given
        mlflow.pyfunc.save_model(folder, python_model=model, signature=signature, pip_requirements=["mlflow"])
    return folder


def body(**columns: list[Any]) -> bytes:
    """A `dataframe_split` body of these columns."""
    return b'{"dataframe_split":' + pd.DataFrame(columns).to_json(orient="split", index=False).encode() + b"}"
