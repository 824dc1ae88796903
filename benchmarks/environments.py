"""`python -m benchmarks.environments`: how long environments take, and what they cost in disk and memory.

Prints each figure beside its goal. Nothing fails where a goal is missed: that depends on the machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.environments.asking import ask, details, run_gateway, settings
from tests.environments.disk import blocks
from tests.environments.made import ROOT, models
from tests.environments.processes import processes_in
from tests.environments.variants import Variants
from tests.support.mlflow_server import MlflowServer, environment, mlflow_server

from benchmarks.results import say

if TYPE_CHECKING:
    from tests.support.gateway_process import Process

FIRST, SECOND = "mlflow130-boosted", "mlflow130-forest"
_MIB = 2**20
_TRIES = 1_000
_STACK = "scikit-learn==1.5.2\nscipy==1.14.1\nnumpy==1.26.4\n"
_OTHERS = ("3.1.0", "3.0.0", "2.2.1", "2.2.0", "2.1.0", "2.0.0", "1.6.0", "1.5.0", "1.4.1", "1.4.0")


@dataclass
class Figures:
    """The figures so far."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, value: str, goal: str = "") -> None:
        """Keep and print one."""
        self.rows.append((what, value, goal))
        say(f"{what}: {value}" + (f" (goal: {goal})" if goal else ""))

    def table(self) -> str:
        """Return all as a table of Markdown."""
        lines = ["| what | measured | goal |", "|---|--:|--:|"]
        return "\n".join([*lines, *(f"| {what} | {value} | {goal} |" for what, value, goal in self.rows)])


async def measure(server: MlflowServer, folder: Path) -> Figures:
    """Measure everything with gateways that keep all in `folder`, uv's cache too."""
    figures = Figures()
    cache = {"UV_CACHE_DIR": str(folder / "uv-cache")}
    with run_gateway(server, folder / "first", **cache) as process:
        await ask(process.url, "today-code")
        figures.add("first answer, nothing at hand but the index", await _seconds(process, FIRST))
        figures.add("cold model, its environment runs", await _seconds(process, SECOND), "0.3 s")
        figures.add("warm model", await _seconds(process, SECOND))
        figures.add("memory of the environment and two models", await _memory(process, FIRST), "310 MiB")
        await _kill(process, FIRST)
        figures.add("answer after its fork server was killed", await _seconds(process, FIRST), "3 s")
    with run_gateway(server, folder / "first", **cache) as process:
        await ask(process.url, "today-code")
        figures.add("first answer after a restart of the gateway", await _seconds(process, FIRST))
    built = _environments(folder / "first")
    for each in built:
        shutil.rmtree(each)
    figures.add(
        "build of the same again, offline", await _build_seconds(server, folder / "first", cache), "1 s"
    )
    with run_gateway(server, folder / "askers", **cache) as process:
        await asyncio.gather(*(ask(process.url, FIRST) for _ in range(20)))
        figures.add("builds for 20 askers at once", str(len(process.events("environment_built"))), "1")
    await _measure_disk(server, folder, figures)
    return figures


async def _seconds(process: Process, name: str) -> str:
    """Return the time of one answer, asked until it succeeds."""
    started = time.perf_counter()
    for _ in range(_TRIES):
        if (await ask(process.url, name))[0] == 200:
            break
        await asyncio.sleep(0.01)
    else:
        raise RuntimeError(f"{name} does not answer")
    return f"{time.perf_counter() - started:.2f} s"


async def _build_seconds(server: MlflowServer, folder: Path, cache: dict[str, str]) -> str:
    """Return the seconds that the gateway logs for a build, without an index."""
    with run_gateway(server, folder, **cache, UV_OFFLINE="1") as process:
        await ask(process.url, FIRST)
        return f"{process.events('environment_built')[0]['seconds']:.2f} s"


async def _memory(process: Process, name: str) -> str:
    digest = (await details(process.url, name))["environment"]["digest"]
    return f"{sum(map(_pss, processes_in(process, digest))) // _MIB} MiB"


async def _kill(process: Process, name: str) -> None:
    digest = (await details(process.url, name))["environment"]["digest"]
    for pid in processes_in(process, digest):
        os.kill(pid, signal.SIGKILL)


async def _measure_disk(server: MlflowServer, folder: Path, figures: Figures) -> None:
    """Build ten environments of one scientific stack, and compare all of them with the first."""
    original = next(model.folder for model in models() if model.name == "mlflow219-boosted")
    texts = {each: f"cloudpickle=={each}\n{_STACK}" for each in _OTHERS}
    names = Variants(server, folder / "variants").register(original, texts)
    disk, cache = folder / "disk", folder / "disk-uv-cache"
    disk.mkdir()
    sizes = []
    for name in names.values():
        variables = environment(settings(server, disk) | {"UV_CACHE_DIR": str(cache)})
        command = [sys.executable, "-m", "gateway", "environment", "build", f"{name}/1"]
        await asyncio.to_thread(subprocess.run, command, env=variables, cwd=disk, check=True, stdout=2)
        sizes.append(blocks(disk / "cache" / "environments", cache))
    figures.add("disk of one environment and uv's cache", f"{sizes[0] // _MIB} MiB")
    figures.add("disk of ten of one scientific stack", f"{sizes[-1] / sizes[0]:.2f} times that", "1.5 times")


def _environments(folder: Path) -> list[Path]:
    return list((folder / "cache" / "environments").glob("*/environments/*"))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main() -> int:
    """Measure, and print the table."""
    pairs = [f"{model.name}={model.folder}" for model in models()]
    # On the file system of the cached models: hard links do not cross to another one.
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".venv-environments-") as name:
        folder = Path(name)
        (folder / "mlflow").mkdir()
        with mlflow_server(folder / "mlflow") as server:
            server.module("tests.environments.registering", *pairs)
            figures = asyncio.run(measure(server, folder))
    sys.stdout.write(f"\n{figures.table()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
