"""More and more registered models beside the one that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS, ECHO, GATEWAY
from benchmarks.load import median
from benchmarks.results import say
from benchmarks.stage import ALIAS, WINE

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.load import Measured

NAME = "growth"
CONNECTIONS = 64
SIZES = (10, 1_000, 10_000)
REFS = {"by number": "1", "by alias": f"@{ALIAS}"}


def run(bench: Bench) -> None:
    """The same warm model, by number and by alias, after each growth; the echo shows the machine's mood."""
    chosen = [one for one in CONTENDERS if one.name in {GATEWAY, ECHO}]
    bench.servers(WINE, chosen)
    for models in sizes(quick=bench.options.quick):
        say(f"growing to {models} registered models …")
        with bench.stage.stopped():
            bench.stage.grow(models)
        _measure(bench, models)


def sizes(*, quick: bool) -> tuple[int, ...]:
    """How many models there are in turn."""
    return SIZES[:-1] if quick else SIZES


def case(models: int, how: str) -> str:
    """Return the name of the case with this number of models and kind of reference."""
    return f"{models} models, {how}"


def _measure(bench: Bench, models: int) -> None:
    servers = bench.servers(WINE, [one for one in CONTENDERS if one.name in {GATEWAY, ECHO}])
    gateway = servers[GATEWAY]
    for ref in REFS.values():  # the first requests after the MLflow server was away are not those to measure
        bench.warm(gateway, f"{gateway.base}/model/{WINE}/{ref}/invocation")
    rounds: dict[str, list[Measured]] = {how: [] for how in (*REFS, ECHO)}
    for _ in range(bench.options.rounds):
        for how, measured in rounds.items():
            url = f"{gateway.base}/model/{WINE}/{REFS[how]}/invocation" if how in REFS else None
            server = gateway if how in REFS else servers[ECHO]
            measured.append(
                bench.measure(
                    server,
                    bench.stage.body(1),
                    connections=CONNECTIONS,
                    seconds=bench.options.seconds,
                    url=url,
                )
            )
    for how, measured in rounds.items():
        contender = GATEWAY if how in REFS else ECHO
        bench.add(NAME, case(models, how), {contender: median(measured)})
