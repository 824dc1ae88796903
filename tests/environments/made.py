"""The environments in which the tests' models are trained: made once, and kept with the models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.support.mlflow_server import environment

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".venv-environments"  # `make clean` removes it
LOCKS = Path(__file__).parent / "locks"
TRAINING = Path(__file__).parent / "training.py"
UV = Path(sys.prefix) / "bin" / "uv"
_SECONDS = 900.0  # with nothing in uv's cache and a slow index


@dataclass(frozen=True)
class TrainingEnvironment:
    """An environment, and the models that are trained in it on a day when its versions were new.

    `lock` is the name of a lock file; without one it is the tests' own environment.
    """

    name: str
    models: tuple[str, ...]
    day: str = ""
    python: str = ""
    lock: str = ""


TRAINING_ENVIRONMENTS = (
    TrainingEnvironment("mlflow130", ("boosted", "forest"), "2022-11-15", "3.10", "mlflow-1.30"),
    TrainingEnvironment("mlflow219", ("boosted", "code"), "2024-12-15", "3.10", "mlflow-2.19"),
    TrainingEnvironment("boosting", ("lightgbm", "xgboost"), "2023-12-15", "3.11", "boosting"),
    TrainingEnvironment("today", ("boosted", "code")),
)


@dataclass(frozen=True)
class MadeModel:
    """A saved model: its folder, the environment it was trained in, and what it answers there."""

    name: str
    folder: Path
    python: str
    mlflow: str
    dtype: str
    answers: list[float]


def models() -> list[MadeModel]:
    """Return every model; train what is not in the cache yet."""
    return [model for made in TRAINING_ENVIRONMENTS for model in _models_of(made)]


def inputs() -> tuple[list[str], list[list[float]]]:
    """Return the names of the columns and the rows that every model was asked."""
    names, rows = json.loads((CACHE / TRAINING_ENVIRONMENTS[0].name / "told.json").read_text())["asked"]
    return names, rows


@cache
def interpreter(version: str) -> Path | None:
    """Return the full path of an installed Python, such as 3.10; None if this machine has none that starts.

    A version manager's stand-ins are on PATH also for versions that do not start.
    """
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [*sorted(managed.glob(f"{version}.*/bin"), reverse=True)]
    folders += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for candidate in (folder / f"python{version}" for folder in folders):
        if candidate.is_file() and (found := _ask(candidate)) and found[0] == version:
            return Path(found[1])
    return None


def _ask(python: Path) -> tuple[str, str] | None:
    code = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=False)
    version, _, path = done.stdout.strip().partition("\n")
    return (version, path) if done.returncode == 0 else None


def _models_of(made: TrainingEnvironment) -> list[MadeModel]:
    folder = CACHE / made.name
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / f"{made.name}.lock", timeout=_SECONDS):
        if not _is_current(made, folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            told = _train(made, folder)
            (folder / "told.json").write_text(json.dumps({"digest": _digest(made), **told}))
        told = json.loads((folder / "told.json").read_text())
    return [
        MadeModel(
            f"{made.name}-{name}",
            folder / "models" / name,
            told["python"],
            told["mlflow"],
            told["answers"][name]["dtype"],
            told["answers"][name]["values"],
        )
        for name in made.models
    ]


def _is_current(made: TrainingEnvironment, folder: Path) -> bool:
    told = folder / "told.json"
    return told.is_file() and json.loads(told.read_text())["digest"] == _digest(made)


def _digest(made: TrainingEnvironment) -> str:
    lock = LOCKS / f"{made.lock}.lock" if made.lock else ROOT / "requirements-dev.lock"
    parts = [repr(made).encode(), TRAINING.read_bytes(), lock.read_bytes(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _train(made: TrainingEnvironment, folder: Path) -> Any:
    python = _install(made, folder) if made.lock else Path(sys.executable)
    (folder / "models").mkdir()
    day = made.day or "2026-01-15"
    output = _run([str(python), str(TRAINING), str(folder / "models"), day, *made.models], folder)
    return json.loads(output.splitlines()[-1])


def _install(made: TrainingEnvironment, folder: Path) -> Path:
    """Make the environment with the machine's own interpreter, from wheels with the hashes of its lock."""
    found = interpreter(made.python)
    assert found is not None, f"Python {made.python} is needed here for the models of {made.name}"
    venv = folder / "venv"
    no_download = "--no-python-downloads"
    _run([str(UV), "venv", "--quiet", "--python", str(found), no_download, str(venv)], folder)
    options = ["--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", no_download]
    lock = ["--requirements", str(LOCKS / f"{made.lock}.lock")]
    _run([str(UV), "pip", "install", *options, "--python", str(venv / "bin" / "python"), *lock], folder)
    return venv / "bin" / "python"


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-4000:]}"
    return done.stdout


if __name__ == "__main__":
    for model in models():
        sys.stdout.write(f"{model}\n")
