"""Models in real environments: other Pythons with libraries of their time, made by uv from wheels."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import pyarrow as pa
import pytest

from tests.support.waiting import until
from tests.workers.conftest import Files, key, load
from workers.errors import ModelLoadError
from workers.protocol.messages import ARROW, CSV, JSON, PARQUET, Job
from workers.wall.policy import WallPolicy
from workers.worker_environment import WorkerEnvironment

if TYPE_CHECKING:
    from tests.workers.pool.calls import Opened

pytestmark = pytest.mark.slow

OURS = ("mlflow-skinny==3.17.*", "orjson", "pyarrow", "pydantic")
TRAIN = """
import sys
import mlflow.sklearn, pandas as pd
from mlflow.models import infer_signature
from sklearn.ensemble import GradientBoostingRegressor
rows = pd.DataFrame({"a": [float(n % 7) for n in range(40)], "b": [float(n % 3) for n in range(40)]})
model = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(rows, rows.a * rows.b)
mlflow.sklearn.save_model(
    model, sys.argv[1], signature=infer_signature(rows, model.predict(rows)),
    serialization_format="cloudpickle", pip_requirements=["scikit-learn"],
)
"""
PREDICT = """
import json, sys
import mlflow.pyfunc, pandas as pd, sklearn
model = mlflow.pyfunc.load_model(sys.argv[1])
predictions = model.predict(pd.DataFrame(json.loads(sys.argv[2])))
print(json.dumps([sklearn.__version__, list(map(float, predictions))]))
"""
ROWS = {"a": [0.0, 2.0, 5.5], "b": [1.0, 2.0, 0.5]}


@dataclass(frozen=True, slots=True)
class Built:
    """An environment, a model that was made in it, and what that model predicts there for `ROWS`."""

    environment: WorkerEnvironment
    model: Path
    scikit_learn: str
    predictions: list[float]

    @property
    def folder(self) -> Path:
        """The environment's folder."""
        return Path(self.environment.python).parents[1]


def build(folder: Path, minor: str, *requirements: str) -> Built:
    """Build an environment with wheels of the index or of uv's cache, and a model in it."""
    python, uv = interpreter(minor), Path(sys.executable).parent / "uv"
    if python is None or not uv.exists():
        pytest.skip(f"no Python {minor} is at a known place of this machine, or uv is not installed")
    environment = folder / "environment"
    run(uv, "venv", "--quiet", "--no-python-downloads", "--python", python, environment)
    own = environment / "bin" / "python"
    run(uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--python", own, *OURS, *requirements)
    run(own, "-I", "-W", "ignore", "-c", TRAIN, folder / "model")
    printed = run(own, "-I", "-W", "ignore", "-c", PREDICT, folder / "model", json.dumps(ROWS))
    version, predictions = json.loads(printed.splitlines()[-1])
    return Built(WorkerEnvironment(folder.name, str(own)), folder / "model", version, predictions)


def interpreter(minor: str) -> str | None:
    """Return the path of an interpreter; a shim of pyenv's is none."""
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    found = sorted(root.glob(f"versions/{minor}.*/bin/python{minor}"))
    return str(found[0]) if found else shutil.which(f"python{minor}", path="/usr/local/bin:/usr/bin")


def run(*command: object) -> str:
    """Run a command, and return what it prints. Environments of others do not matter to it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_"))}
    done = subprocess.run(
        list(map(str, command)), env=kept, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """scikit-learn 1.1 and its numpy and pandas, under Python 3.10."""
    folder = tmp_path_factory.mktemp("oldest")
    return build(folder, "3.10", "scikit-learn==1.1.3", "numpy==1.23.5", "pandas==1.5.3")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """scikit-learn 1.5 under Python 3.13, which cannot read each other's messages of executors."""
    return build(tmp_path_factory.mktemp("newer"), "3.13", "scikit-learn==1.5.2", "pandas==2.2.3")


def bodies() -> dict[str, bytes]:
    """Return `ROWS` in every form that a client may send."""
    frame = pd.DataFrame(ROWS)
    parquet, arrow = io.BytesIO(), pa.BufferOutputStream()
    frame.to_parquet(parquet)
    table = pa.Table.from_pandas(frame)
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    split = frame.to_dict(orient="split", index=False)
    return {
        JSON: orjson.dumps({"dataframe_split": split}),
        CSV: frame.to_csv(index=False).encode(),
        PARQUET: parquet.getvalue(),
        ARROW: arrow.getvalue().to_pybytes(),
    }


async def test_each_answers_as_in_its_own_environment(opened: Opened, oldest: Built, newer: Built) -> None:
    """To the last bit, whatever the form of the body, with both at once beside the gateway's own."""
    wall = WallPolicy("auto", models=(str(oldest.model), str(newer.model)))
    async with opened(wall=wall, fork_timeout_seconds=600.0) as pool:
        for name, built in (("oldest", oldest), ("newer", newer)):
            await load(pool, Files(key(name), built.model, environment=built.environment))
        for name, built in (("oldest", oldest), ("newer", newer)):
            for media_type, body in bodies().items():
                reply = await pool.predict(key(name), Job(body, media_type))
                assert orjson.loads(reply.body) == built.predictions, media_type
    assert (oldest.scikit_learn, newer.scikit_learn) == ("1.1.3", "1.5.2")


async def test_bytecode_is_kept_for_the_next_start(opened: Opened, oldest: Built) -> None:
    """The fork server writes it beside the environment, whose files stay as they are."""
    before = files_in(oldest.folder)
    wall = WallPolicy("auto", models=(str(oldest.model),))
    async with opened(wall=wall, fork_timeout_seconds=600.0) as pool:
        await load(pool, Files(key("oldest"), oldest.model, environment=oldest.environment))
    assert files_in(oldest.folder) == before
    kept = {path.name for path in files_in(oldest.folder.with_name(oldest.folder.name + ".bytecode"))}
    assert {"estimator_checks.cpython-310.pyc", "table.cpython-310.pyc"} & kept == {"table.cpython-310.pyc"}


def files_in(folder: Path) -> dict[Path, float]:
    """Return the files of a folder, with the times of their last changes."""
    return {path: path.stat().st_mtime for path in folder.rglob("*") if path.is_file()}


async def test_a_model_for_another_library_fails_in_words(
    opened: Opened, oldest: Built, newer: Built
) -> None:
    """A model of scikit-learn 1.1 in the environment of 1.5 does not load; the environment is not broken."""
    broken: list[Any] = []
    wall = WallPolicy("auto", models=(str(oldest.model),))
    options: dict[str, Any] = {"wall": wall, "fork_timeout_seconds": 600.0, "environment_idle_seconds": 0.0}
    async with opened(**options, on_environment_broken=broken.append) as pool:
        with pytest.raises(ModelLoadError, match="sklearn"):
            await load(pool, Files(key("oldest"), oldest.model, environment=newer.environment))
        await until(lambda: not pool.environments)
    assert broken == []
