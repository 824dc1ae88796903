"""From a cold model, its files here, to its first answer."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.bodies import post
from benchmarks.contenders import CONTENDERS, GATEWAY, MLFLOW
from benchmarks.results import Row, say
from benchmarks.stage import WINE

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.contenders import Contender
    from benchmarks.starts import Running

NAME = "cold"
CASE = "to the first answer"
MEDIAN = "s, median"
LONGEST = "s, longest"
TIMES = 7
STARTS = 3


def run(bench: Bench) -> None:
    """The gateway loads an unloaded model; the peers' processes start."""
    known = {one.name: one for one in CONTENDERS}
    gateway = bench.servers(WINE, [known[GATEWAY]])[GATEWAY]
    _add(bench, GATEWAY, [_reload(bench, gateway) for _ in range(TIMES)])
    bench.clear()
    starts = 1 if bench.options.quick else STARTS
    peers = [one for one in bench.contenders() if one.role in {"mlflow", "other"}]
    for peer in peers:
        if peer.name == MLFLOW or not bench.options.quick:
            say(f"starting {peer.name}, {starts} times …")
            _add(bench, peer.name, [_start(bench, peer) for _ in range(starts)])


def _reload(bench: Bench, gateway: Running) -> float:
    body = bench.stage.body(1).forms["mlflow"]
    post(f"{gateway.base}/v2/repository/models/{WINE}/unload", b"{}")
    started = time.perf_counter()
    post(gateway.url, body)
    return time.perf_counter() - started


def _start(bench: Bench, peer: Contender) -> float:
    started = time.perf_counter()
    with peer.start(bench.stage, WINE, bench.folder) as server:
        post(server.url, bench.stage.body(1).forms[server.form])
        return time.perf_counter() - started


def _add(bench: Bench, name: str, seconds: list[float]) -> None:
    figures = {MEDIAN: statistics.median(seconds), LONGEST: max(seconds)}
    bench.results.add(Row(NAME, CASE, name, figures))
