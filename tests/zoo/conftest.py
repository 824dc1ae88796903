"""The zoo on a real MLflow server, the gateway before it, and MLflow's own scoring servers beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio

from tests.support.gateways import ROOT, Gateway, gateway_at
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.mlflow_server import MlflowServer

SECONDS = 300
_COUNTS = pytest.StashKey["Counts"]()


@dataclass
class Counts:
    """How many cases of each model and form came to which end."""

    ended: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def table(self) -> list[str]:
        """A line per model: in each form, how many cases were equal, differed as told, or failed."""
        models = list(dict.fromkeys(model for model, _, _ in self.ended))
        forms = list(dict.fromkeys(form for _, form, _ in self.ended))
        rows = [["", *forms, "all"]]
        rows += [
            [model, *(self._cell(model, form) for form in forms), self._cell(model, None)] for model in models
        ]
        rows.append(["all", *(self._cell(None, form) for form in forms), self._cell(None, None)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]

    def _cell(self, model: str | None, form: str | None) -> str:
        ends: Counter[str] = Counter()
        for (of, sent, end), count in self.ended.items():
            if model in {None, of} and form in {None, sent}:
                ends[end] += count
        return " ".join(f"{count}{end[0]}" for end, count in sorted(ends.items())) or "-"


@dataclass(frozen=True)
class Zoo:
    """The registered models: where their files lie, and which could not be made here and why."""

    places: dict[str, str]
    absent: dict[str, str]


def pytest_configure(config: pytest.Config) -> None:
    """A place for the counts."""
    config.stash[_COUNTS] = Counts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs the zoo's libraries, and runs only when it is asked for."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.zoo)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Models by forms: how many cases came to which end."""
    counts = config.stash[_COUNTS]
    if counts.ended:
        terminalreporter.section(
            "the zoo: e equal, d a documented difference, f failed, a absent, n cannot be said"
        )
        for line in counts.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def counts(pytestconfig: pytest.Config) -> Counts:
    """Where a test says how its case ended."""
    return pytestconfig.stash[_COUNTS]


@pytest.fixture(scope="session")
def zoo(mlflow_server: MlflowServer) -> Zoo:
    """Every model of the zoo, trained and registered."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.zoo.registering", str(mlflow_server.folder / "artifacts")],
        env=environment({"MLFLOW_TRACKING_URI": mlflow_server.url}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Zoo(**json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="session")
def peer(zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's own scoring servers, one per model."""
    folder = tmp_path_factory.mktemp("peer")
    places = folder / "places.json"
    places.write_text(json.dumps(zoo.places))
    with (folder / "peer.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.zoo.peer", str(places)],
            env=environment(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, (folder / "peer.log").read_text()[-4000:]
        yield url
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def zoo_gateway(
    mlflow_server: MlflowServer, zoo: Zoo, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """The application, with real workers, in front of the server that holds the zoo."""
    cache = tmp_path_factory.mktemp("zoo-cache")
    async with gateway_at(mlflow_server.url, cache, GATEWAY_MAX_LOADED_MODELS="3") as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """For the calls to the scoring servers."""
    # MLflow's server closes the connection after a 500 without saying so.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as opened:
        yield opened
