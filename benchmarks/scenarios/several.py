"""Four models at once, sixteen connections each, beside one model over all of them."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.bench import doubt, figures
from benchmarks.contenders import CONTENDERS, GATEWAY
from benchmarks.load import median
from benchmarks.results import PER_SECOND, Row
from benchmarks.stage import COPIES, WINE

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.load import Measured
    from benchmarks.starts import Running

NAME = "several models"
ONE = "one x 64"
SUM = "four x 16, sum"
SHARE = "times one model's of the same round"
MODELS = (WINE, *COPIES)


def run(bench: Bench) -> None:
    """Round by round: one model, then all four."""
    ours = [one for one in CONTENDERS if one.name == GATEWAY]
    gateway = bench.servers(WINE, ours)[GATEWAY]
    addresses = [f"{gateway.base}/model/{model}/1/invocation" for model in MODELS]
    for address in addresses:
        bench.warm(gateway, address)
    alone: list[Measured] = []
    together: list[list[Measured]] = []
    for _ in range(bench.options.rounds):
        alone.append(_one(bench, gateway, addresses[0], 64))
        with ThreadPoolExecutor(len(addresses)) as threads:
            asked = [threads.submit(_one, bench, gateway, address, 16) for address in addresses]
            together.append([future.result() for future in asked])
    _add(bench, ONE, median(alone))
    for model, measured in zip(MODELS, zip(*together, strict=True), strict=True):
        _add(bench, of(model), median(measured))
    total = statistics.median(sum(one.per_second for one in measured) for measured in together)
    share = statistics.median(
        sum(one.per_second for one in measured) / single.per_second
        for single, measured in zip(alone, together, strict=True)
    )
    bench.results.add(Row(NAME, SUM, GATEWAY, {PER_SECOND: total, SHARE: share}))


def of(model: str) -> str:
    """The case of one of the four, by name."""
    return f"{model} of four x 16"


def _one(bench: Bench, gateway: Running, address: str, connections: int) -> Measured:
    return bench.measure(
        gateway, bench.stage.body(1), connections=connections, seconds=bench.options.seconds, url=address
    )


def _add(bench: Bench, case: str, one: Measured) -> None:
    bench.results.add(Row(NAME, case, GATEWAY, figures(one), one.failed, doubt(one)))
