"""What all contenders serve: models on a real MLflow server, and the bodies that are sent."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import orjson

from benchmarks.bodies import Body
from benchmarks.processes import environment, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WINE = "wine"
COPIES = ("wine-b", "wine-c", "wine-d")
FOREST = "forest"
ALIAS = "champion"
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


class Stage:
    """An MLflow server below `folder` that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._server = ExitStack()
        self._bodies: dict[int, Body] = {}

    @property
    def uri(self) -> str:
        """The MLflow server's address."""
        return f"http://127.0.0.1:{self._port}"

    def files(self, model: str) -> Path:
        """The folder of a model's own files, for those that read no registry."""
        return self._folder / "models" / model

    def body(self, rows: int) -> Body:
        """Return a body of this number of rows."""
        if rows not in self._bodies:
            split = orjson.loads((self._folder / "rows.json").read_bytes())
            self._bodies[rows] = Body.of(split["columns"], split["data"], rows=rows)
        return self._bodies[rows]

    def start(self) -> None:
        """Start the server."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--workers", "1", "--serve-artifacts"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        command += ["--backend-store-uri", f"sqlite:///{self._database}"]
        ready = f"{self.uri}/health"
        self._server.enter_context(
            running(command, ready=ready, folder=self._folder / "mlflow", extra=_QUIET)
        )

    def close(self) -> None:
        """Stop the server; it can be started again."""
        self._server.close()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Without the server for a while."""
        self.close()
        yield
        self.start()

    def train(self) -> None:
        """Train and register the models."""
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.programs.training", str(self._folder)],
            env=environment({**_QUIET, "MLFLOW_TRACKING_URI": self.uri}),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def grow(self, models: int) -> None:
        """Register this number of models, as copies of one in the database of the stopped server."""
        with closing(sqlite3.connect(self._database)) as database, database:
            (there,) = database.execute("SELECT count(*) FROM registered_models").fetchone()
            names = [(f"grown-{number:05}",) for number in range(there, models)]
            for table, condition in (("registered_models", ""), ("model_versions", " AND version = 1")):
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                values = ", ".join("?" if column == "name" else column for column in columns)
                database.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - names of its own tables
                    f" SELECT {values} FROM {table} WHERE name = '{COPIES[0]}'{condition}",
                    names,
                )

    @property
    def _database(self) -> Path:
        return self._folder / "mlflow.db"


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """A stage with its server running and its models registered."""
    stage = Stage(folder)
    try:
        stage.start()
        stage.train()
        yield stage
    finally:
        stage.close()
