"""A model that takes its time: a forest of a hundred trees, one row per request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.stage import FOREST

if TYPE_CHECKING:
    from benchmarks.bench import Bench

NAME = "forest"
CONNECTIONS = 64
CASE = f"1 row x {CONNECTIONS}"


def run(bench: Bench) -> None:
    """Every contender at 64 connections; when quick, ourselves and MLflow."""
    chosen = [one for one in bench.contenders() if not bench.options.quick or one.role in {"ours", "mlflow"}]
    measured = bench.in_turn(
        bench.servers(FOREST, chosen),
        bench.stage.body(1),
        connections=CONNECTIONS,
        seconds=bench.options.seconds,
    )
    bench.add(NAME, CASE, measured)
