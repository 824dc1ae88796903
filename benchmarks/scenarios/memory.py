"""What the whole of a server's processes holds: proportional set size, so that shared pages count once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.bodies import post
from benchmarks.results import Row, say
from benchmarks.stage import WINE

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.contenders import Contender
    from benchmarks.starts import Running

NAME = "memory"
WARM = "one warm model"
FURTHER = "each further warm model"
MEBIBYTES = "MiB"
MORE = 5
_ASKS = 20
_SETTLE_SECONDS = 1.0


def run(bench: Bench) -> None:
    """Each contender alone, without the MLflow server, so that no other process shares its pages."""
    bench.clear()
    known = {"ours"} if bench.options.quick else {"ours", "mlflow", "other"}
    for one in bench.contenders():
        if one.role in known:
            say(f"starting {one.name} alone …")
            _weigh(bench, one)


def _weigh(bench: Bench, contender: Contender) -> None:
    with contender.start(bench.stage, WINE, bench.folder) as server:
        _ask(bench, server, server.url)
        before = server.process.memory()
        with bench.stage.stopped():
            time.sleep(_SETTLE_SECONDS)
            alone = server.process.memory()
        bench.results.add(Row(NAME, WARM, contender.name, {MEBIBYTES: alone / 2**20}))
        if contender.role == "ours":
            for version in range(2, 2 + MORE):
                _ask(bench, server, f"{server.base}/model/{WINE}/{version}/invocation")
            time.sleep(_SETTLE_SECONDS)
            further = (server.process.memory() - before) / MORE
            bench.results.add(Row(NAME, FURTHER, contender.name, {MEBIBYTES: further / 2**20}))


def _ask(bench: Bench, server: Running, address: str) -> None:
    for _ in range(_ASKS):
        post(address, bench.stage.body(1).forms[server.form])
