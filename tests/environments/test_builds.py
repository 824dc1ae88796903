"""Proves that an environment is built once, whole or not at all, and shares its files with others."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from time import monotonic
from typing import TYPE_CHECKING

from gateway.environments.store import EnvironmentStore
from tests.environments.asking import ask, run_gateway, settings
from tests.environments.disk import blocks
from tests.environments.variants import Variants
from tests.support.mlflow_server import environment
from workers.metrics import Counters

if TYPE_CHECKING:
    from pathlib import Path

    from tests.environments.made import MadeModel
    from tests.support.mlflow_server import MlflowServer

_KILLS = 5
_SEED = 20261129


async def test_twenty_askers_cause_one_build(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """All who wait get the answer; a build starts and ends once."""
    with run_gateway(mlflow_server, tmp_path) as process:
        answers = await asyncio.gather(*(ask(process.url, "mlflow130-boosted") for _ in range(20)))
        assert {status for status, _ in answers} == {200}
        assert len(process.events("environment_build_started")) == 1
        assert len(process.events("environment_built")) == 1


async def test_a_build_that_is_killed_leaves_nothing_that_counts(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """Whenever the builder dies, each folder there is whole, and the next build succeeds."""
    moments = random.Random(_SEED)  # noqa: S311 - not a secret
    store = EnvironmentStore(tmp_path / "cache" / "environments", max_bytes=2**40, counters=Counters())
    whole = await asyncio.to_thread(time_of_build, mlflow_server, tmp_path / "timed")
    for _ in range(_KILLS):
        builder = build(mlflow_server, tmp_path, "mlflow219-code/1")
        await asyncio.sleep(moments.uniform(0.1, 1.0) * whole)
        os.killpg(builder.pid, signal.SIGKILL)
        builder.wait()
        for folder in (tmp_path / "cache").glob("environments/*/environments/*"):
            assert await store.is_complete(folder.name), folder
    builder = build(mlflow_server, tmp_path, "mlflow219-code/1")
    assert await asyncio.to_thread(builder.wait) == 0
    assert list((tmp_path / "cache").glob("environments/*/partial/*")) == []
    with run_gateway(mlflow_server, tmp_path) as process:
        assert (await ask(process.url, "mlflow219-code"))[0] == 200
        assert process.events("environment_build_started") == []


async def test_ten_environments_of_one_stack_take_little_more_than_one(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, beside_cache: Path
) -> None:
    """Files that they share count once: by what three more take, ten take at most 1.5 times one."""
    versions = ("3.1.0", "3.0.0", "2.2.1", "2.2.0")
    texts = {each: f"cloudpickle=={each}\nscikit-learn==1.5.2\nscipy==1.14.1\n" for each in versions}
    variants = Variants(mlflow_server, beside_cache / "variants")
    names = variants.register(trained["mlflow219-boosted"].folder, texts)
    sizes = []
    for name in names.values():
        builder = build(mlflow_server, beside_cache, f"{name}/1")
        assert await asyncio.to_thread(builder.wait) == 0
        sizes.append(blocks(beside_cache / "cache" / "environments"))
    assert len(list((beside_cache / "cache").glob("environments/*/environments/*"))) == len(versions)
    each_more = (sizes[-1] - sizes[0]) / (len(versions) - 1)
    assert sizes[0] + 9 * each_more <= 1.5 * sizes[0], sizes


def time_of_build(server: MlflowServer, folder: Path) -> float:
    """Return how many seconds a whole build takes here and now, with all packages at hand."""
    folder.mkdir()
    assert build(server, folder, "mlflow219-code/1").wait() == 0  # fetches what uv's cache does not have
    shutil.rmtree(folder / "cache")
    started = monotonic()
    assert build(server, folder, "mlflow219-code/1").wait() == 0
    return monotonic() - started


def build(server: MlflowServer, folder: Path, model: str, **values: str) -> subprocess.Popen[bytes]:
    """Start `gateway environment build` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "environment", "build", model],
        env=environment(settings(server, folder) | values),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
