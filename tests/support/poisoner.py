"""Register a model that rewrites another model's cached files, and its victim. A script; it prints null.

poisoner       predicts the number of models that it poisoned in the cache folder that each row names
poison-victim  predicts "honest"

Its argument is a folder for its files.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
from mlflow.pyfunc.model import PythonModel

if TYPE_CHECKING:
    import pandas as pd

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Poisoner(PythonModel):
    """A model that rewrites a file of the victim and the digest beside it."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [sum(map(self._poison, pathlib.Path(top).glob("v1/models/*"))) for top in model_input["cache"]]

    def _poison(self, folder: pathlib.Path) -> bool:
        manifest = folder / "manifest.json"
        content = json.loads(manifest.read_text())
        if not content["model"].startswith("poison-victim/"):
            return False
        for entry in content["files"]:
            path = folder / "files" / entry["path"]
            changed = path.read_bytes().replace(b"honest", b"POISON")
            path.write_bytes(changed)
            entry["sha256"] = hashlib.sha256(changed).hexdigest()
        manifest.write_text(json.dumps(content))
        return True


class Victim(PythonModel):
    """A model with an honest answer among its files."""

    def load_context(self, context: Any) -> None:
        self.answer = pathlib.Path(context.artifacts["answer"]).read_text()

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [self.answer] * len(model_input)


def main() -> None:
    """Register both."""
    mlflow.set_experiment("poisoning")
    answer = pathlib.Path(sys.argv[1]) / "answer.txt"
    answer.write_text("honest")
    for name, model, artifacts in (
        ("poisoner", Poisoner(), None),
        ("poison-victim", Victim(), {"answer": str(answer)}),
    ):
        mlflow.pyfunc.log_model(
            name="model",
            python_model=model,
            artifacts=artifacts,
            registered_model_name=name,
            pip_requirements=["mlflow"],
        )
    print("null")  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
