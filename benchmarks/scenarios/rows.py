"""Many rows per request; and what a light client beside such load has to wait."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.bench import doubt, figures
from benchmarks.bodies import post
from benchmarks.contenders import GATEWAY
from benchmarks.results import P50, P99, ROWS_PER_SECOND, Row
from benchmarks.stage import COPIES, WINE

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.bodies import Body
    from benchmarks.starts import Running

NAME = "rows"
LIGHT = "light client"
SIZES = ((1_000, 8), (100_000, 4))
LARGE = 100_000  # the bundled driver sends these, and waits for every answer
ASKS = ("GET /health/live", "1 row of another model")
_PACE = 0.005


def run(bench: Bench) -> None:
    """Every contender with bodies of both sizes; then the light client beside the gateway's load."""
    servers = bench.servers(WINE, [one for one in bench.contenders() if one.role != "floor"])
    for rows, connections in SIZES:
        body = bench.stage.body(rows)
        bench.agree(servers, body)
        seconds = bench.options.long_seconds
        measured = bench.in_turn(servers, body, connections=connections, seconds=seconds)
        for name, one in measured.items():
            found = {ROWS_PER_SECOND: one.per_second * rows, **figures(one)}
            bench.results.add(
                Row(
                    NAME, case(rows, connections), name, found, one.failed, doubt(one) if rows < LARGE else ""
                )
            )
        _beside(bench, servers[GATEWAY], body, connections=connections)


def case(rows: int, connections: int) -> str:
    """Return the name of the case with these bodies and connections."""
    return f"{rows} rows x {connections}"


def beside(ask: str, rows: int, connections: int) -> str:
    """The case of a light request beside such a load, by name."""
    return f"{ask}, beside {case(rows, connections)}"


def _beside(bench: Bench, gateway: Running, body: Body, *, connections: int) -> None:
    """The light client's times beside the load."""
    rounds = [_loaded(bench, gateway, body, connections=connections) for _ in range(bench.options.rounds)]
    for place, ask in enumerate(ASKS):
        p50, p99 = (statistics.median(one[place][figure] for one in rounds) for figure in (0, 1))
        label = beside(ask, body.rows, connections)
        bench.results.add(Row(LIGHT, label, GATEWAY, {P50: p50, P99: p99}))


def _loaded(bench: Bench, gateway: Running, body: Body, *, connections: int) -> list[list[float]]:
    seconds = bench.options.long_seconds
    with ThreadPoolExecutor(1) as threads:
        load = threads.submit(bench.measure, gateway, body, connections=connections, seconds=seconds)
        times = _light(bench, gateway, seconds=seconds - 0.5)
        load.result()
    return times


def _light(bench: Bench, gateway: Running, *, seconds: float) -> list[list[float]]:
    other = f"{gateway.base}/model/{COPIES[0]}/1/invocation"
    one_row = bench.folder / "one-row.json"
    one_row.write_bytes(bench.stage.body(1).forms["mlflow"])
    post(other, one_row.read_bytes())  # so that it is warm
    asked = [f"{gateway.base}/health/live", "-", other, str(one_row)]
    command = [sys.executable, "-m", "benchmarks.programs.light", str(seconds), str(_PACE), *asked]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    times: list[list[float]] = json.loads(output)
    return times
