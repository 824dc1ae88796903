"""Proves what `gateway environment` makes beforehand: environments, exported wheels, and approved locks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.environments.asking import SECONDS, ask, details, run_gateway, settings
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.environments.made import MadeModel
    from tests.support.mlflow_server import MlflowServer

OLD, NEW = "mlflow130-boosted", "mlflow219-code"
_NOWHERE = "http://127.0.0.1:9"  # nothing listens on the port "discard"
NO_INDEX = {
    "HTTP_PROXY": _NOWHERE,
    "HTTPS_PROXY": _NOWHERE,
    "NO_PROXY": "127.0.0.1",  # the MLflow server
    "UV_HTTP_RETRIES": "0",
}


def run(server: MlflowServer, folder: Path, *arguments: str, **values: str) -> str:
    """Run `gateway environment` with the settings of a gateway in `folder`; return what it prints."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "environment", *arguments],
        env=environment(settings(server, folder) | values),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


async def test_what_was_built_beforehand_is_not_built_for_a_request(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, beside_cache: Path
) -> None:
    """A removed environment is built again from uv's cache."""
    run(mlflow_server, beside_cache, "build", f"{NEW}/1")
    assert "packages; built" in run(mlflow_server, beside_cache, "show", f"{NEW}/1")
    with run_gateway(mlflow_server, beside_cache, **NO_INDEX) as process:
        status, answer = await ask(process.url, NEW)
        assert (status, answer.get("predictions")) == (200, trained[NEW].answers), answer
        assert process.events("environment_build_started") == []
        digest = (await details(process.url, NEW))["environment"]["digest"]
    (built,) = (beside_cache / "cache").glob("environments/*/environments/*")
    assert built.name == digest
    shutil.rmtree(built)
    with run_gateway(mlflow_server, beside_cache, **NO_INDEX) as process:
        status, answer = await ask(process.url, NEW)
        assert (status, answer.get("predictions")) == (200, trained[NEW].answers), answer
        assert len(process.events("environment_built")) == 1


async def test_exported_wheels_are_enough(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, built_once: str, tmp_path: Path
) -> None:
    """One folder has the wheels of two ages. A gateway without index and cache gives each version its own."""
    wheels = tmp_path / "wheels"
    for name in (OLD, NEW):
        told = run(
            mlflow_server, tmp_path / "online", "export", f"{name}/1", "--folder", str(wheels),
            GATEWAY_ENVIRONMENTS_DIR=built_once,
        )  # fmt: skip
        assert "wheels" in told
    assert len(list(wheels.glob("numpy-*.whl"))) == 2
    values = {**NO_INDEX, "GATEWAY_WHEELS": str(wheels), "UV_CACHE_DIR": str(tmp_path / "uv-cache")}
    with run_gateway(mlflow_server, tmp_path / "closed", **values) as process:
        for name in (OLD, NEW):
            status, answer = await ask(process.url, name)
            assert (status, answer.get("predictions")) == (200, trained[name].answers), answer
        assert len(process.events("environment_built")) == 2


async def test_only_approved_locks_are_built(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, built_once: str, tmp_path: Path
) -> None:
    """The answer names the file that `gateway environment lock` then writes."""
    locks, folder = tmp_path / "locks", tmp_path / "gateway"
    locks.mkdir()
    values = {"GATEWAY_ENVIRONMENTS_DIR": built_once, "GATEWAY_ENVIRONMENT_LOCKS": str(locks)}
    with run_gateway(mlflow_server, folder, **values) as process:
        status, answer = await ask(process.url, NEW)
        assert (status, "is approved" in answer["message"]) == (424, True), answer
    run(mlflow_server, folder, "lock", f"{NEW}/1", "--folder", str(locks), **values)
    (lock,) = locks.iterdir()
    assert lock.name in answer["message"]
    with run_gateway(mlflow_server, folder, **values) as process:
        status, answer = await ask(process.url, NEW)
        assert (status, answer.get("predictions")) == (200, trained[NEW].answers), answer
