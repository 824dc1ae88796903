"""The running gateway of a checkout, and all that is measured of it.

The gateway is reached through what all revisions have in common: `python -m gateway serve`, environment
variables and HTTP. Nothing here imports it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from benchmarks import starts
from benchmarks.bodies import post
from benchmarks.load import Measured, measure
from benchmarks.ratios import Measure
from benchmarks.stage import COPIES, WINE

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.revision import Revision
    from benchmarks.stage import Stage
    from benchmarks.starts import Running

ROWS = 1_000
ROWS_CONNECTIONS = 8
COLD = COPIES[0]  # loaded and unloaded, while the model under load stays warm
WARM_SECONDS = 2.0  # a worker's first two seconds under load are slower by a third
WARM_ROWS_SECONDS = 0.5
GRACE = "GATEWAY_GRACE_SECONDS"  # for load balancers; here it would cost two seconds of each start
SETTLE_SECONDS = 0.2  # for an unloaded model's process to end

MANY = Measure("1 row x 64", "req/s")
SINGLE = Measure("1 row x 1", "req/s")
LATENCY = Measure("1 row x 1", "p50 ms", less_is_better=True)
LARGE = Measure(f"{ROWS} rows x {ROWS_CONNECTIONS}", "rows/s")
FIRST = Measure("unloaded model to its first answer", "ms", less_is_better=True)
START = Measure("gateway start to ready", "ms", less_is_better=True)

Figures = Mapping[Measure, float]


@dataclass(slots=True)
class Side:
    """The running gateway of a checkout, and how many of the requests to it failed."""

    server: Running
    stage: Stage
    folder: Path
    seconds: float
    failed: int = 0

    def send(self, *, rows: int, connections: int, seconds: float | None = None) -> Measured:
        """Return what the gateway does with bodies of `rows` rows."""
        body = self.stage.body(rows).forms["mlflow"]
        measured = measure(
            self.server.url,
            body,
            connections=connections,
            seconds=seconds or self.seconds,
            folder=self.folder,
        )
        self.failed += measured.failed
        return measured

    def warm(self) -> None:
        """Load both models and send load that is not measured."""
        self.ask_cold()
        self.send(rows=1, connections=16, seconds=WARM_SECONDS)
        self.send(rows=ROWS, connections=ROWS_CONNECTIONS, seconds=WARM_ROWS_SECONDS)

    def ask_cold(self) -> None:
        """Ask the model that is not kept warm for one prediction."""
        post(f"{self.server.base}/model/{COLD}/1/invocation", self.stage.body(1).forms["mlflow"])

    def many(self) -> Figures:
        """Measure single rows over 64 connections."""
        return {MANY: self.send(rows=1, connections=64).per_second}

    def single(self) -> Figures:
        """Measure single rows over one connection."""
        measured = self.send(rows=1, connections=1)
        return {SINGLE: measured.per_second, LATENCY: measured.p50}

    def large(self) -> Figures:
        """Measure bodies of many rows."""
        return {LARGE: self.send(rows=ROWS, connections=ROWS_CONNECTIONS).per_second * ROWS}

    def first(self) -> Figures:
        """Measure the first answer of a model that is not loaded; its files are cached."""
        answer = post(f"{self.server.base}/v2/repository/models/{COLD}/unload", b"{}")
        if not orjson.loads(answer)["unloaded"]:
            raise RuntimeError(f"{COLD} was not loaded, so its load cannot be measured")
        time.sleep(SETTLE_SECONDS)
        started = time.perf_counter()
        self.ask_cold()
        return {FIRST: (time.perf_counter() - started) * 1e3}

    def started(self) -> Figures:
        """Return how long the gateway's own start took."""
        return {START: self.server.process.seconds * 1e3}


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a round: what both sides do in turn, and how often; the medians are the round's figures."""

    run: Callable[[Side], Figures]
    times: int = 1


STEPS = (Step(Side.many), Step(Side.single), Step(Side.large), Step(Side.first, times=5))


def serving(revision: Revision, stage: Stage, folder: Path) -> AbstractContextManager[Running]:
    """Return the gateway of `revision`, running while its context lasts, and ended without its grace."""
    settings = revision.settings | ({GRACE: "0"} if revision.knows(GRACE) else {})
    return starts.gateway(revision.python, stage, WINE, folder, settings)
