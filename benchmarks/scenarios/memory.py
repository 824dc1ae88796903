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
    """Each contender alone, without the MLflow server, so that nobody else shares its pages."""
    bench.clear()
    for one in bench.contenders():
        if one.role != "floor":
            say(f"starting {one.name} alone …")
            _weigh(bench, one)


def _weigh(bench: Bench, contender: Contender) -> None:
    with contender.start(bench.stage, WINE, bench.folder) as server:
        first = _settled(bench, server, [server.url])
        bench.results.add(Row(NAME, WARM, contender.name, {MEBIBYTES: first}))
        if contender.role == "ours":
            others = [f"{server.base}/model/{WINE}/{version}/invocation" for version in range(2, 2 + MORE)]
            further = (_settled(bench, server, others) - first) / MORE
            bench.results.add(Row(NAME, FURTHER, contender.name, {MEBIBYTES: further}))


def _settled(bench: Bench, server: Running, addresses: list[str]) -> float:
    """The mebibytes after each address was asked, with the MLflow server away."""
    for address in addresses:
        for _ in range(_ASKS):
            post(address, bench.stage.body(1).forms[server.form])
    with bench.stage.stopped():
        time.sleep(_SETTLE_SECONDS)
        return server.process.memory() / 2**20
